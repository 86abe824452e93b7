"""`python -m bench.traffic_log`: how fast the traffic log takes traces and gives them back, and what memory that needs"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pipelines.trace import SamplingRecord, SourceRecord, StepRecord, Trace, encode_trace
from pipelines.traffic_log import Position, TrafficWriter, advance, is_kafka, open_reader, open_writer, without_secrets

_PROVEN = 1000
"""Traces compared field by field before anything is timed."""
_PAGE = 500
_LOOK, _MOST_PENDING = 256, 2048
"""Between two looks at the queue so many are appended; more than this many may not wait for the disk."""
_QUEUE = 4096
_PATIENCE = 600.0
_MAX_BYTES = 1 << 36


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One way through a log: all traces in, or all out."""

    log: str
    what: str
    seconds: float
    traces_per_second: float
    resident_mib: tuple[float, float, float]
    """Of this process: before the first trace, after half of them, after the last."""


class Memory:
    """The memory of this process, sampled three times."""

    def __init__(self, number: int) -> None:
        self._half = number // 2
        self.samples = [resident_mib()]

    def passed(self, number: int) -> None:
        """So many traces are through."""
        if len(self.samples) == 1 and number >= self._half:
            self.samples.append(resident_mib())

    def end(self) -> tuple[float, float, float]:
        start, half, end = (*self.samples, resident_mib())
        return start, half, end


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.traffic_log", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="for the report, and while it runs for the traces")
    add("--kafka", default="", metavar="URL", help="measured too, on new topics whose names begin so: kafka://host:port/topic")
    add("--traces", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    args = parser.parse_args(words)
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(encode_trace(trace_of(0)))} bytes a trace, {args.traces} traces, load {os.getloadavg()[0]:.2f}", flush=True)
    legs: list[Leg] = []
    with tempfile.TemporaryDirectory(dir=args.out) as name:
        folder = Path(name)
        for log, url_of in logs(folder, args.kafka):
            prove(url_of(), folder / "spool-proof")
            for leg in measure(log, url_of(), folder / "spool", args.traces):
                print(line_of(leg), flush=True)
                legs.append(leg)
    (args.out / "traffic_log.json").write_bytes(msgspec.json.format(msgspec.json.encode(legs)))
    return 0


def logs(folder: Path, kafka: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Name of each log, and what gives the URL of a new one."""
    yield "SQLite", lambda: f"sqlite:///{folder.absolute()}/{uuid.uuid4().hex}.db"
    if kafka:
        yield without_secrets(kafka), lambda: new_topic(kafka)


def new_topic(url: str) -> str:
    from pipelines.kafka_log.address import KafkaAddress
    from pipelines.kafka_log.topics import TopicPlan, create_topics

    before, question, parameters = url.partition("?")
    found = f"{before}-{uuid.uuid4().hex[:12]}{question}{parameters}"
    create_topics(KafkaAddress.parse(found), TopicPlan())
    return found


def prove(url: str, spool: Path) -> None:
    """What is read back equals what was appended. Raises AssertionError."""
    traces = [trace_of(number) for number in range(_PROVEN)]
    with opened(url, spool) as writer:
        assert all(writer.append(trace) for trace in traces)
        assert writer.flush(_PATIENCE)
    reader = open_reader(url)
    found = [logged.trace for logged in reader.read({}, _PROVEN)]
    reader.close()
    assert sorted(found, key=lambda trace: trace.trace_id) == traces


def measure(name: str, url: str, spool: Path, number: int) -> Iterator[Leg]:
    def leg(what: str, seconds: float, memory: Memory) -> Leg:
        return Leg(log=name, what=what, seconds=seconds, traces_per_second=number / seconds, resident_mib=memory.end())

    with opened(url, spool) as writer:
        memory = Memory(number)
        started = time.monotonic()
        append(writer, number, memory)
        durable = time.monotonic() - started
        assert writer.flush(_PATIENCE)
        arrived = time.monotonic() - started
        counters = writer.counters()
        assert (counters.written, counters.dropped, counters.lost) == (number, 0, 0), counters
        if is_kafka(url):
            yield leg("into the spool", durable, memory)
        yield leg("to where readers find them", arrived, memory)
    memory = Memory(number)
    started = time.monotonic()
    read(url, number, memory)
    yield leg("read back", time.monotonic() - started, memory)


def append(writer: TrafficWriter, number: int, memory: Memory) -> None:
    """As fast as the disk takes them."""
    for each in range(number):
        assert writer.append(trace_of(each))
        if each % _LOOK == 0:
            memory.passed(each)
            wait(writer, _MOST_PENDING)
    wait(writer, 0)


def wait(writer: TrafficWriter, most: int) -> None:
    while writer.counters().pending > most:
        time.sleep(0.002)


def read(url: str, number: int, memory: Memory) -> None:
    """Every trace once, in pages, as a trainer reads."""
    seen = bytearray(number)
    num_seen = 0
    position: Position = {}
    reader = open_reader(url)
    while num_seen < number:
        page = reader.read(position, _PAGE)
        assert page, f"the log ends after {num_seen} traces"
        for logged in page:
            advance(position, logged.place)
            each = int(logged.trace.trace_id)
            assert not seen[each], f"trace {each} comes twice"
            seen[each] = 1
        num_seen += len(page)
        memory.passed(num_seen)
    reader.close()


@contextmanager
def opened(url: str, spool: Path) -> Iterator[TrafficWriter]:
    writer = open_writer(url, spool=spool, max_queue=_QUEUE, max_bytes=_MAX_BYTES)
    try:
        yield writer
    finally:
        writer.close(_PATIENCE)


_TEMPLATE = Trace(
    trace_id="",
    conversation="",
    started_at=1.0,
    finished_at=2.0,
    target="f" * 64,
    tokenizer="0" * 64,
    prompt_ids=tuple(range(100, 220)),
    output_ids=tuple(range(1000, 1180)),
    finish_reason="stop",
    sampling=SamplingRecord(temperature=0.8, top_p=1.0, top_k=0, min_p=0.0, seed=7, max_tokens=256),
    steps=tuple(
        StepRecord(
            start=3 * step,
            emitted=3,
            batch_size=4,
            nodes=6,
            sources=(SourceRecord(source="medusa", version="v1", proposed=(3, 2, 1), reached=(3, 1, 1), accepted=(1, 1, 0)),),
        )
        for step in range(60)
    ),
    domain="sql",
)


def trace_of(number: int) -> Trace:
    """An answer of 180 tokens in sixty steps; ids sort as numbers do."""
    return msgspec.structs.replace(_TEMPLATE, trace_id=f"{number:036d}", conversation=f"conversation-{number // 3}")


def resident_mib() -> float:
    """Of this process; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def line_of(leg: Leg) -> str:
    start, half, end = leg.resident_mib
    return f"{leg.log}: {leg.what}: {leg.traces_per_second:.0f} traces/s; {start:.0f}, {half:.0f}, {end:.0f} MiB resident"


if __name__ == "__main__":
    sys.exit(main())
