"""Records that the topic's retention deleted before a reader came to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaProducer

from pipelines.kafka_log import KafkaAddress, KafkaReader
from pipelines.trace import encode_trace
from pipelines.traffic_log import LoggedTrace, Position, advance
from tests.faults.mock_cluster import MockCluster
from tests.pipelines.records import make_trace


@pytest.fixture
def address(mock: MockCluster) -> KafkaAddress:
    return mock.address("traffic")


@pytest.fixture
def reader(address: KafkaAddress) -> Iterator[KafkaReader]:
    reader = KafkaReader(address)
    yield reader
    reader.close()


def send(address: KafkaAddress, partition: int, *names: str) -> None:
    producer = KafkaProducer(**address.client)
    for name in names:
        producer.send(address.topic, encode_trace(make_trace(name)), partition=partition)
    producer.flush()
    producer.close()


def read_on(reader: KafkaReader, position: Position) -> list[LoggedTrace]:
    found = reader.read(position, 100)
    for logged in found:
        advance(position, logged.place)
    return found


def names(found: list[LoggedTrace]) -> list[str]:
    return [logged.trace.trace_id for logged in found]


def test_a_reader_overtaken_by_retention_goes_on_from_the_oldest_and_says_how_much_it_missed(
    mock: MockCluster, address: KafkaAddress, reader: KafkaReader, caplog: pytest.LogCaptureFixture
) -> None:
    send(address, 0, *(f"a-{number}" for number in range(20)))
    send(address, 1, *(f"b-{number}" for number in range(20)))
    position: Position = {}
    for logged in reader.read(position, 100):
        if logged.place.offset <= 5:
            advance(position, logged.place)
    assert position == {0: 5, 1: 5}
    mock.truncate("traffic", 0, 12)
    found = read_on(reader, position)
    assert [name for name in names(found) if name.startswith("a")] == [f"a-{number}" for number in range(12, 20)]
    assert [name for name in names(found) if name.startswith("b")] == [f"b-{number}" for number in range(5, 20)]
    assert position == {0: 20, 1: 20}
    (said,) = (message for message in caplog.messages if "retention" in message)
    assert "7 records of partition 0, from offset 5 on," in said


def test_where_retention_left_nothing_a_reader_waits_for_what_comes_next(
    mock: MockCluster, address: KafkaAddress, reader: KafkaReader, caplog: pytest.LogCaptureFixture
) -> None:
    send(address, 0, *(f"old-{number}" for number in range(20)))
    position: Position = {}
    for logged in reader.read(position, 5):
        advance(position, logged.place)
    mock.truncate("traffic", 0, 20)
    restarted = KafkaReader(address)
    assert restarted.read(position, 100) == []
    assert restarted.read({}, 100) == [], "nor does one that comes for the first time find any"
    assert restarted.end() == {0: 20}
    assert any("15 records of partition 0" in message for message in caplog.messages)
    assert restarted.read(position, 100) == []
    send(address, 0, "new")
    assert names(read_on(restarted, position)) == ["new"]
    assert position == {0: 21}
    restarted.close()
