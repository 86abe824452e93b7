"""The Kafka traffic log keeps the contract, over a spool that outlives broker and server."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from pipelines.errors import LogUnavailable
from pipelines.kafka_log import KafkaAddress
from pipelines.kafka_log.records import key_of
from pipelines.kafka_log.topics import TopicPlan, create_topics
from pipelines.trace import encode_trace
from pipelines.traffic_log import LoggedTrace, Position, TrafficReader, TrafficWriter, advance, open_reader, open_writer
from tests.pipelines.contract_traffic_log import PATIENCE, Opening, TrafficLogContract, balanced, fill, read_all
from tests.pipelines.records import make_trace, make_traces
from tests.servers.kafka_broker import Broker


def new_log(broker: str, partitions: int = 1) -> str:
    """URL of a log on topics that were just made."""
    url = f"kafka://{broker}/traffic-{uuid.uuid4().hex[:12]}"
    make_topics(url, partitions)
    return url


def make_topics(url: str, partitions: int = 1) -> None:
    create_topics(KafkaAddress.parse(url), TopicPlan(partitions=partitions))


class TestKafkaTrafficLog(TrafficLogContract):
    @pytest.fixture
    def url(self, kafka_address: str) -> str:
        return new_log(kafka_address)

    @pytest.fixture
    def opening(self, url: str, tmp_path: Path) -> Opening:
        return partial(open_writer, url, spool=tmp_path / "spool")


class Opened:
    """Opens writers and readers, and closes them when the test is over, whatever came of it: who is left would go on asking for
    a broker that is gone."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def writer(self, url: str, spool: Path) -> TrafficWriter:
        writer = open_writer(url, spool=spool)
        self._stack.callback(writer.close, 1.0)
        return writer

    def reader(self, url: str) -> TrafficReader:
        reader = open_reader(url)
        self._stack.callback(reader.close)
        return reader


@pytest.fixture
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:
        yield Opened(stack)


@pytest.fixture
def wide(kafka_address: str) -> str:
    """A log of four partitions."""
    return new_log(kafka_address, 4)


@pytest.fixture
def reader(wide: str, opened: Opened) -> TrafficReader:
    return opened.reader(wide)


def test_over_many_partitions_nothing_is_missed_and_a_conversation_stays_in_order(
    wide: str, reader: TrafficReader, tmp_path: Path, opened: Opened
) -> None:
    writer = opened.writer(wide, tmp_path)
    traces = [make_trace(f"{turn}-{number}", conversation=f"c{number}") for turn in range(5) for number in range(40)]
    fill(writer, traces)
    writer.close(PATIENCE)
    position: Position = {}
    found = []
    while page := reader.read(position, 17):
        assert len(page) <= 17
        for logged in page:
            advance(position, logged.place)
            found.append(logged)
    assert position == reader.end()
    assert len({logged.place.partition for logged in found}) == 4, "keys are spread"
    assert {logged.trace.trace_id for logged in found} == {trace.trace_id for trace in traces}
    for number in range(40):
        turns = [logged.trace.trace_id for logged in found if logged.trace.conversation == f"c{number}"]
        assert turns == [f"{turn}-{number}" for turn in range(5)]


def test_another_reader_goes_on_where_a_position_says(wide: str, reader: TrafficReader, tmp_path: Path, opened: Opened) -> None:
    writer = opened.writer(wide, tmp_path)
    traces = [make_trace(f"t{number}", conversation=f"c{number}") for number in range(60)]
    fill(writer, traces)
    position: Position = {}
    first = reader.read(position, 25)
    for logged in first:
        advance(position, logged.place)
    other = opened.reader(wide)
    rest = other.read(position, 100)
    writer.close(PATIENCE)
    assert len(first) == 25
    assert sorted(logged.trace.trace_id for logged in first + rest) == sorted(trace.trace_id for trace in traces)


def test_what_a_reader_settled_is_committed_to_the_group(
    wide: str, reader: TrafficReader, tmp_path: Path, opened: Opened
) -> None:
    writer = opened.writer(wide, tmp_path)
    fill(writer, make_traces(8))
    writer.close(PATIENCE)
    (logged,) = reader.read({}, 1)
    reader.settled({logged.place.partition: logged.place.offset})
    address = KafkaAddress.parse(wide)
    partition = TopicPartition(address.topic, logged.place.partition)
    deadline = time.monotonic() + PATIENCE
    with closing(KafkaConsumer(**address.client, group_id=address.group, enable_auto_commit=False)) as watcher:
        while watcher.committed(partition) != 1:
            assert time.monotonic() < deadline
            reader.read({}, 1)  # what was asked for is sent along


def send(url: str, *values: bytes) -> None:
    """Behind the writer's back."""
    address = KafkaAddress.parse(url)
    producer = KafkaProducer(**address.client)
    for value in values:
        producer.send(address.topic, value, key_of(make_trace()), partition=0)
    producer.flush()
    producer.close()


def test_a_poisoned_record_is_skipped_counted_once_and_kept_with_the_reason(wide: str, reader: TrafficReader) -> None:
    send(wide, encode_trace(make_trace("first")), b"poison", b"", encode_trace(make_trace("last")))
    for _ in range(2):
        assert [trace.trace_id for trace in read_all(reader)] == ["first", "last"]
    assert reader.num_skipped() == 2
    address = KafkaAddress.parse(wide)
    partition = TopicPartition(address.dead_letters, 0)
    buried = []
    deadline = time.monotonic() + PATIENCE
    with closing(KafkaConsumer(**address.client, enable_auto_commit=False)) as dead:
        dead.assign([partition])
        dead.seek_to_beginning(partition)
        while len(buried) < 2 and time.monotonic() < deadline:
            for records in dead.poll(timeout_ms=200).values():
                buried += records
    assert [record.value for record in buried] == [b"poison", b""]
    headers = dict(buried[0].headers)
    assert b"not a trace of schema 1" in headers["reason"]
    assert headers["from"] == f"{address.topic}/0/1".encode()


def test_records_that_come_twice_are_read_once(wide: str, reader: TrafficReader) -> None:
    bodies = [encode_trace(trace) for trace in make_traces(4)]
    send(wide, *bodies, *bodies)
    assert [trace.trace_id for trace in read_all(reader)] == [f"trace-{number}" for number in range(4)]


def test_a_purge_by_one_reader_holds_for_every_other(wide: str, reader: TrafficReader, tmp_path: Path, opened: Opened) -> None:
    writer = opened.writer(wide, tmp_path)
    tenants = ["them", "us"] * 10
    fill(writer, [make_trace(f"t{at}", tenant=tenant, conversation=f"c{at}") for at, tenant in enumerate(tenants)])
    operator = opened.reader(wide)
    assert operator.purge("us") == 10
    operator.close()
    later = opened.reader(wide)
    assert {trace.tenant for trace in read_all(later)} == {"them"}
    later.close()
    fill(writer, [make_trace("new", tenant="us")])
    assert "new" in {trace.trace_id for trace in read_all(reader)}, "what comes after the purge is not purged"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder)
    yield broker
    broker.kill()


@pytest.fixture
def url(own: Broker) -> str:
    """A log on a broker of the test's own, which is not there yet."""
    return f"kafka://{own.address}/traffic"


def start(own: Broker, url: str) -> None:
    """With the topics of the log: they went with the broker that was killed."""
    own.start()
    make_topics(url)


@pytest.mark.slow
def test_without_a_broker_traces_wait_in_the_spool_and_follow_in_order(
    own: Broker, url: str, tmp_path: Path, opened: Opened
) -> None:
    writer = opened.writer(url, tmp_path / "spool")
    traces = make_traces(300)
    started = time.monotonic()
    assert all(writer.append(trace) for trace in traces)
    assert time.monotonic() - started < 1.0, "nobody waits for a broker"
    assert not writer.flush(0.6)
    counters = writer.counters()
    assert balanced(counters)
    assert (counters.written, counters.spooled, counters.dropped) == (300, 300, 0)
    start(own, url)
    assert writer.flush(PATIENCE)
    assert writer.counters().spooled == 0
    reader = opened.reader(url)
    assert read_all(reader) == traces


@pytest.mark.slow
def test_what_waits_is_counted_once_however_often_it_is_tried_and_whatever_was_sent_before(
    own: Broker, url: str, tmp_path: Path, opened: Opened
) -> None:
    start(own, url)
    writer = opened.writer(url, tmp_path / "spool")
    fill(writer, make_traces(5, "sent"))
    own.kill()
    assert all(writer.append(trace) for trace in make_traces(20, "waiting"))
    assert not writer.flush(1.0)
    assert (writer.counters().spooled, writer.counters().lost) == (20, 0)
    writer.close(0.5)
    shutil.copytree(tmp_path / "spool", tmp_path / "later")  # as the next process finds it
    restarted = opened.writer(url, tmp_path / "later")
    deadline = time.monotonic() + PATIENCE
    while restarted.counters().spooled != 20:  # those sent before are not among them
        assert time.monotonic() < deadline, restarted.counters()
        time.sleep(0.05)


@pytest.mark.slow
def test_what_a_server_left_in_the_spool_is_sent_by_the_next(own: Broker, url: str, tmp_path: Path, opened: Opened) -> None:
    writer = opened.writer(url, tmp_path / "spool")
    traces = make_traces(20)
    assert all(writer.append(trace) for trace in traces)
    writer.close(1.0)
    shutil.copytree(tmp_path / "spool", tmp_path / "later")  # as the next process finds it
    start(own, url)
    restarted = opened.writer(url, tmp_path / "later")
    assert restarted.append(make_trace("next"))
    reader = opened.reader(url)
    deadline = time.monotonic() + PATIENCE
    while len(found := read_all(reader)) < 21 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [trace.trace_id for trace in found] == [*(trace.trace_id for trace in traces), "next"]


def test_two_servers_on_one_machine_have_a_spool_each(kafka_address: str, tmp_path: Path, opened: Opened) -> None:
    url = new_log(kafka_address)
    writers = [opened.writer(url, tmp_path) for _ in range(2)]
    for number, writer in enumerate(writers):
        fill(writer, make_traces(5, f"of-{number}"))
    for writer in writers:
        writer.close(PATIENCE)
    assert len(list(tmp_path.glob("*.db"))) == 2
    reader = opened.reader(url)
    deadline = time.monotonic() + PATIENCE
    while len(read_all(reader)) < 10:  # the broker may not know its own end yet
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_a_reader_is_told_at_once_that_the_broker_is_away_and_reads_on_when_it_is_back(
    own: Broker, url: str, tmp_path: Path, opened: Opened
) -> None:
    start(own, url)
    writer = opened.writer(url, tmp_path / "spool")
    fill(writer, [make_trace("before")])
    reader = opened.reader(url)
    assert len(read_all(reader)) == 1
    own.kill()
    waits = []
    for _ in range(4):
        started = time.monotonic()
        with pytest.raises(LogUnavailable, match=own.address):
            reader.read({}, 10)
        waits.append(time.monotonic() - started)
    assert min(waits) < 0.5, "whoever was told once need not wait again"
    start(own, url)
    fill(writer, [make_trace("after")])
    deadline = time.monotonic() + PATIENCE
    found: list[str] = []
    while "after" not in found and time.monotonic() < deadline:
        try:
            found = [trace.trace_id for trace in read_all(reader)]
        except LogUnavailable:
            time.sleep(0.1)
    assert "after" in found


def patiently(reader: TrafficReader, after: Position) -> list[LoggedTrace]:
    """What a reader finds as soon as it has a broker."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return reader.read(after, 100)
        except LogUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
def test_a_topic_that_was_made_anew_is_read_from_its_start_and_then_on(
    own: Broker, url: str, tmp_path: Path, opened: Opened
) -> None:
    start(own, url)
    writer, reader = opened.writer(url, tmp_path / "spool"), opened.reader(url)
    fill(writer, make_traces(5, "old"))
    position: Position = {}

    def read_on(num: int) -> list[str]:
        """The next `num` traces, as a trainer takes them."""
        found: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < num and time.monotonic() < deadline:
            for logged in patiently(reader, position):
                advance(position, logged.place)
                found.append(logged.trace.trace_id)
        return found

    assert read_on(5) == [f"old-{number}" for number in range(5)]
    own.kill()  # and with it all it held
    start(own, url)
    fill(writer, make_traces(2, "new"))
    assert read_on(2) == ["new-0", "new-1"]
    fill(writer, make_traces(1, "next"))
    assert read_on(1) == ["next-0"]
    assert patiently(reader, position) == []


@pytest.mark.slow
def test_a_frozen_broker_delays_traces_and_blocks_nobody(own: Broker, url: str, tmp_path: Path, opened: Opened) -> None:
    start(own, url)
    writer = opened.writer(url, tmp_path / "spool")
    fill(writer, [make_trace("before")])
    own.freeze()
    started = time.monotonic()
    assert all(writer.append(trace) for trace in make_traces(100))
    assert time.monotonic() - started < 1.0
    assert not writer.flush(1.0)
    own.thaw()
    assert writer.flush(PATIENCE)
    reader = opened.reader(url)
    assert len(read_all(reader)) == 101


def test_topics_that_exist_are_left_as_they_are(kafka_address: str) -> None:
    address = KafkaAddress.parse(f"kafka://{kafka_address}/traffic-{uuid.uuid4().hex[:12]}")
    assert create_topics(address, TopicPlan(partitions=2)) == [address.topic, address.dead_letters, address.purges]
    assert create_topics(address, TopicPlan(partitions=5)) == []
