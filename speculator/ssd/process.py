"""The worker as a process of its own, on cores or a device of its own, at the other end of a socket pair."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from pipelines.wire import Wire
from speculator.ssd.messages import Birth, FromWorker, ToWorker
from speculator.ssd.transport import MOST_FROM_WORKER


class WorkerProcess:
    """A `Link` to a process that is started at once and says Ready when it is. It ends with this one: the socket tells it."""

    def __init__(self, birth: Birth) -> None:
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(each for each in sys.path if each) or os.getcwd()
        try:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "speculator.ssd.main", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join((os.getcwd(), path)), "OMP_NUM_THREADS": str(birth.threads)},
                process_group=0,  # Ctrl-C reaches the whole group; the engine decides
            )
        finally:
            theirs.close()
        self._wire: Wire[FromWorker] = Wire(ours, FromWorker, most_bytes=MOST_FROM_WORKER)  # type: ignore[arg-type]
        self.send(birth)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToWorker) -> None:
        self._wire.send(message)

    def receive(self, seconds: float) -> list[FromWorker]:
        return self._wire.receive(seconds)

    def close(self) -> None:
        self._wire.close()
        self._process.kill()
        self._process.wait()
