"""Files that somebody deleted to make room, while others use them."""

from __future__ import annotations

import time
from pathlib import Path

from pipelines.kafka_log import KafkaReader, KafkaWriter
from pipelines.sqlite_log import SqliteReader
from pipelines.traffic_log import Position, TrafficReader, advance
from tests.faults.mock_cluster import MockCluster
from tests.pipelines.contract_traffic_log import PATIENCE, fill
from tests.pipelines.records import make_traces
from tests.pipelines.test_sqlite_log_faults import start_writer


def read_on(reader: TrafficReader, position: Position, number: int) -> list[str]:
    """Ids of the next `number` traces, as a trainer takes them."""
    found: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < number and time.monotonic() < deadline:
        for logged in reader.read(position, 100):
            advance(position, logged.place)
            found.append(logged.trace.trace_id)
    return found


def test_a_spool_that_was_deleted_is_begun_anew_and_sent_from_its_start(mock: MockCluster, tmp_path: Path) -> None:
    address = mock.address("traffic")
    writer = KafkaWriter(address, tmp_path, max_queue=4096, max_bytes=1 << 30, max_age=1e9)
    reader = KafkaReader(address)
    position: Position = {}
    fill(writer, make_traces(20, "before"))
    assert len(read_on(reader, position, 20)) == 20
    for file in tmp_path.glob("spool-0.db*"):
        file.unlink()
    assert all(writer.append(trace) for trace in make_traces(5, "after"))
    assert read_on(reader, position, 5) == [f"after-{number}" for number in range(5)]
    assert writer.flush(PATIENCE)
    assert (writer.counters().spooled, writer.counters().lost) == (0, 0)
    reader.close()
    writer.close(PATIENCE)


def test_a_log_that_was_deleted_is_read_from_its_new_start_and_then_on(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    writer, reader = start_writer(path), SqliteReader(path)
    position: Position = {}
    fill(writer, make_traces(20, "before"))
    assert len(read_on(reader, position, 20)) == 20
    for file in tmp_path.iterdir():
        file.unlink()
    assert reader.read(position, 100) == [], "a log that is not there is empty"
    for number in range(2):
        fill(writer, make_traces(3, f"after-{number}"))
        assert read_on(reader, position, 3) == [f"after-{number}-{each}" for each in range(3)]
    assert reader.read(position, 100) == []
    writer.close(PATIENCE)
    reader.close()
