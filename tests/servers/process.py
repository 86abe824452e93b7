"""A server process of a test's own: started, waited for, paused, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

REQUIRED = os.environ.get("EVERDRAFT_TEST_REQUIRE_SERVERS") == "1"
"""Whether a server that is not installed fails the tests instead of skipping them: so it is in CI."""


def missing(what: str) -> None:
    """Skips the test, or fails it where servers are required."""
    if REQUIRED:
        pytest.fail(f"{what} is not installed, and EVERDRAFT_TEST_REQUIRE_SERVERS is 1")
    pytest.skip(f"{what} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """command: as it is started, again and again. ready: whether it answers; asked until it does."""

    def __init__(self, command: Sequence[str], log: Path, ready: Callable[[], bool]) -> None:
        self._command = list(command)
        self._log = log
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, patience: float = 20.0) -> None:
        assert self._process is None, "it runs already"
        with open(self._log, "ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + patience
        while not self._ready():
            assert self._process.poll() is None, f"it ended: {self._log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"it does not answer: {self._log.read_text()[-2000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        """At once, as a machine dies."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It holds its connections and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return True
    except OSError:
        return False
