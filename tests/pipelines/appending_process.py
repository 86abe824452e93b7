"""A process that appends traces until it is killed.

`python -m tests.pipelines.appending_process URL NUM_FLUSHED` flushes after the first NUM_FLUSHED traces and then
never again. It prints the id of each trace and the time after appending it.
"""

from __future__ import annotations

import sys
import time

from pipelines.traffic_log import TrafficWriter, open_writer
from tests.pipelines.records import make_trace


def append(writer: TrafficWriter, number: int) -> str:
    assert writer.append(make_trace(f"trace-{number}"))
    return f"trace-{number} {time.monotonic()}"


def main(url: str, num_flushed: int) -> None:
    writer = open_writer(url)
    flushed = [append(writer, number) for number in range(num_flushed)]
    assert writer.flush(60.0)
    print(*flushed, sep="\n", flush=True)
    number = num_flushed
    while True:
        print(append(writer, number), flush=True)
        number += 1
        time.sleep(0.005)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
