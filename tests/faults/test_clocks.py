"""A clock that jumps an hour ahead and back, as one that is set by hand or by a time server does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipelines.kafka_log import KafkaAddress, KafkaReader, KafkaWriter
from pipelines.kafka_log.topics import TopicPlan
from pipelines.sqlite_log import SqliteReader, SqliteWriter, retention
from pipelines.traffic_log import Position, advance
from tests.faults.mock_cluster import NOT_ENOUGH_REPLICAS, PRODUCE, MockCluster
from tests.pipelines.contract_traffic_log import PATIENCE, fill
from tests.pipelines.records import make_trace, make_traces

HOUR = 3600.0


class Clock:
    """What `time.time` says, beside the truth."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._truth = time.time

    def __call__(self) -> float:
        return self._truth() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


JUMPS = [(HOUR, 0.0, -HOUR), (-HOUR, HOUR, 0.0)]


@pytest.mark.parametrize("jumps", JUMPS)
def test_what_waits_in_the_spool_outlasts_the_jumps_and_arrives_once_in_order(
    mock: MockCluster, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumps: tuple[float, ...]
) -> None:
    monkeypatch.setattr(retention, "_AGE_INTERVAL", 0.0)
    mock.fail(PRODUCE, NOT_ENOUGH_REPLICAS, 100_000)
    address = mock.address("traffic")
    writer = KafkaWriter(address, tmp_path, max_queue=4096, max_bytes=1 << 30, max_age=3 * HOUR)
    reader = KafkaReader(address)
    position: Position = {}
    assert reader.read(position, 10) == []
    for number, ahead in enumerate((0.0, *jumps)):
        clock.ahead = ahead
        assert all(writer.append(trace) for trace in make_traces(20, f"part-{number}"))
        assert not writer.flush(0.4)
    counters = writer.counters()
    assert (counters.spooled, counters.dropped, counters.lost) == (80, 0, 0)
    mock.relent(PRODUCE)
    assert writer.flush(PATIENCE)
    found: list[str] = []
    for ahead in (*jumps, 0.0):
        clock.ahead = ahead
        for logged in reader.read(position, 25):
            advance(position, logged.place)
            found.append(logged.trace.trace_id)
    assert found == [f"part-{number}-{each}" for number in range(4) for each in range(20)]
    assert reader.gone(reader.read({}, 100)) == frozenset()
    writer.close(PATIENCE)
    reader.close()


def test_old_traces_go_on_time_after_a_clock_went_back(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_AGE_INTERVAL", 0.5)
    path = tmp_path / "traffic.db"
    clock.ahead = HOUR
    writer = SqliteWriter(path, max_queue=100, max_bytes=1 << 30, max_age=1e9)
    fill(writer, [make_trace("first")])
    clock.ahead = 0.0
    fill(writer, [make_trace("brief", expires_at=time.time() + 0.2)])
    time.sleep(0.6)
    fill(writer, [make_trace("last")])
    writer.close(PATIENCE)  # and with it the retention that follows the commit
    assert [trace.trace_id for trace in SqliteReader(path).export("default")] == ["first", "last"]


def test_a_trace_whose_time_seems_to_be_up_is_left_out_and_nothing_else(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    writer = SqliteWriter(path, max_queue=100, max_bytes=1 << 30, max_age=1e9)
    fill(writer, [make_trace("lasting"), make_trace("brief", expires_at=time.time() + HOUR / 2)])
    writer.close(PATIENCE)
    reader = SqliteReader(path)
    clock.ahead = HOUR
    assert [logged.trace.trace_id for logged in reader.read({}, 10)] == ["lasting"]
    assert reader.num_skipped() == 1
    clock.ahead = -HOUR
    assert [logged.trace.trace_id for logged in reader.read({}, 10)] == ["lasting", "brief"]
    reader.close()


def test_a_topic_goes_by_the_clock_of_its_broker() -> None:
    # else a broker refuses what is an hour ahead (`message.timestamp.after.max.ms`), and retention takes what seems to be old
    _, settings = TopicPlan().configs(KafkaAddress(("one:9092",), "traffic"))["traffic"]
    assert settings["message.timestamp.type"] == "LogAppendTime"
