"""Records that come twice, late, or in another partition than before: each trace is learnt from once."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

import msgspec
import pytest
from kafka import KafkaProducer

from pipelines.kafka_log import KafkaAddress, KafkaReader
from pipelines.kafka_log.topics import TopicPlan, create_topics
from pipelines.trace import encode_trace
from pipelines.traffic_log import Position, advance
from tests.faults.load import NUM_CONVERSATIONS, in_order, numbered
from tests.pipelines.records import SLOT
from trainer.feed import Feed, FeedState

NUM = 160
EACH_ONCE = sorted(f"t-{number}" for number in range(NUM))
PARTITIONS = 3


@pytest.fixture
def address(kafka_address: str) -> KafkaAddress:
    address = KafkaAddress.parse(f"kafka://{kafka_address}/traffic-{uuid.uuid4().hex[:12]}")
    create_topics(address, TopicPlan(partitions=PARTITIONS))
    return address


def send(address: KafkaAddress, records: Sequence[tuple[int, int]]) -> None:
    """Behind the writer's back: the number of a trace and its partition."""
    producer = KafkaProducer(**address.client)
    for number, partition in records:
        producer.send(address.topic, encode_trace(numbered(number)), partition=partition)
    producer.flush()
    producer.close()


def home(number: int) -> int:
    """The partition of a trace's conversation."""
    return number % NUM_CONVERSATIONS % PARTITIONS


def test_what_is_sent_again_late_and_in_disorder_is_read_once_in_the_order_of_its_first_coming(address: KafkaAddress) -> None:
    shuffled = random.Random(5)
    records: list[int] = []
    for number in range(NUM):
        records.append(number)
        records += shuffled.choices(range(number + 1), k=2)
    send(address, [(number, home(number)) for number in records])
    reader = KafkaReader(address)
    position: Position = {}
    found = []
    while page := reader.read(position, 7):
        for logged in page:
            advance(position, logged.place)
            found.append(logged.trace)
    assert sorted(trace.trace_id for trace in found) == EACH_ONCE
    assert in_order(found)
    reader.close()


def test_traces_that_swapped_places_are_all_read(address: KafkaAddress) -> None:
    disorder = random.Random(5).sample(range(NUM), NUM)
    send(address, [(number, home(number)) for number in disorder])
    reader = KafkaReader(address)
    assert sorted(logged.trace.trace_id for logged in reader.read({}, 1000)) == EACH_ONCE
    reader.close()


def test_a_trainer_started_again_after_every_page_learns_once_from_what_came_twice_anywhere(address: KafkaAddress) -> None:
    first = [(number, home(number)) for number in range(NUM)]
    moved = [(number, (home(number) + 1) % PARTITIONS) for number in range(NUM)]  # as after a topic got more partitions
    send(address, first + moved + first)
    state = FeedState()
    learnt: list[str] = []
    while True:
        reader = KafkaReader(address)
        feed = Feed(reader, SLOT, "tokenizer-1", max_tokens=64, fraction=0.25, key=b"k" * 32, state=state)
        intake = feed.read(100)
        reader.close()
        learnt += [kept.trace.trace_id for kept in intake.studied + intake.held_out]
        state = msgspec.convert(msgspec.to_builtins(feed.state), FeedState)  # as its checkpoint keeps it
        if not intake.num_read:
            break
    assert sorted(learnt) == EACH_ONCE
    assert state.num_duplicates > NUM, "the reader forgot, the feed did not"
