"""A process that lets others append, and kills each of them at a random moment.

`python -m tests.faults.killing_process URL SPOOL NUMBER FILE` writes to FILE a line for each trace that was appended, `id time`,
and one for each life before it ends, `life time`, in seconds of the monotonic clock. The others are forked: imports take long.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from pipelines.traffic_log import open_writer
from tests.faults.load import numbered

_PAUSE = 0.003
_LEAST, _MOST = 0.1, 2.5
"""Seconds of a life."""


def main(url: str, spool: Path, number: int, file: Path) -> None:
    moments = random.Random(11)
    lines = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for life in range(number):
        child = os.fork()
        if not child:
            append(url, spool, f"life{life}", lines)
        time.sleep(moments.uniform(_LEAST, _MOST))
        os.write(lines, f"life{life} {time.monotonic()}\n".encode())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def append(url: str, spool: Path, prefix: str, lines: int) -> None:
    writer = open_writer(url, spool=spool)
    number = 0
    while True:
        trace = numbered(number, prefix)
        if writer.append(trace):
            os.write(lines, f"{trace.trace_id} {time.monotonic()}\n".encode())
        number += 1
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
