"""A process at the other end of a transport, which says Ready for every End that it hears: `… FD` or `… HOST:PORT`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from pipelines.wire import Wire
from speculator.ssd.address import Address
from speculator.ssd.gloo import GlooWire
from speculator.ssd.messages import End, Ready, ToWorker
from speculator.ssd.rendezvous import dial
from speculator.ssd.transport import MOST_TO_WORKER, WorkerLink


def echo(wire: WorkerLink) -> None:
    wire.send(Ready("echo"))
    while True:
        for message in wire.receive(1.0):
            if isinstance(message, End):
                wire.send(Ready(str(message.sequence)))


def started(where: str, *descriptors: int) -> subprocess.Popen[bytes]:
    """That process."""
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        (sys.executable, "-m", "tests.speculator.ssd.echo", where),
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        pass_fds=descriptors,
    )


if __name__ == "__main__":
    if ":" in sys.argv[1]:
        echo(GlooWire(dial(Address.parse(sys.argv[1])), ToWorker, most_bytes=MOST_TO_WORKER))  # type: ignore[arg-type]
    else:
        echo(Wire(socket.socket(fileno=int(sys.argv[1])), ToWorker))  # type: ignore[arg-type]
