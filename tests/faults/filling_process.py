"""A process whose spool lies on a disk that others fill, and make room on again.

`python -m tests.faults.filling_process URL DISK`. DISK: a small file system of its own, empty. Says `full` when it is
and traces were refused: from then on it needs a broker. In the end it prints as JSON what became of its traces.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import msgspec

from pipelines.traffic_log import TrafficWriter, open_writer
from tests.faults.load import Load

MAX_QUEUE = 200
_RATE = 400.0
PATIENCE = 30.0
_CHUNK = b"\0" * 4096


def main(url: str, disk: Path) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(created).3f %(message)s")
    writer = open_writer(url, spool=disk / "spool", max_queue=MAX_QUEUE)
    before = run(writer, "before", 1.5)
    file = fill(disk)
    full = run(writer, "full", 2.0)
    print("full", flush=True)
    deadline = time.monotonic() + PATIENCE
    while writer.counters().spooled and time.monotonic() < deadline:
        time.sleep(0.1)
    counters_full = writer.counters()
    file.unlink()
    flushed = writer.flush(PATIENCE)
    after = run(writer, "after", 1.5)
    flushed &= writer.flush(PATIENCE)
    loads = (before, full, after)
    found = {
        "taken": [name for load in loads for name in load.taken],
        "refused": [load.refused for load in loads],
        "longest": max(load.longest for load in loads),
        "flushed": flushed,
        "counters_full": counters_full,
        "counters": writer.counters(),
    }
    writer.close(PATIENCE)
    print(msgspec.json.encode(found).decode())


def run(writer: TrafficWriter, name: str, seconds: float) -> Load:
    with Load(writer, _RATE, prefix=name, output_ids=tuple(range(1000))) as load:
        time.sleep(seconds)
    return load


def fill(disk: Path) -> Path:
    """Leaves no byte."""
    file = disk / "others"
    handle = os.open(file, os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(handle, _CHUNK)
    except OSError:
        return file
    finally:
        os.close(handle)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
