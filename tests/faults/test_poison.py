"""Records that are no traces, where nothing can be done with them."""

from __future__ import annotations

import time

import pytest
from kafka import KafkaProducer

from pipelines.kafka_log import KafkaReader
from pipelines.trace import encode_trace
from tests.faults.mock_cluster import MockCluster
from tests.pipelines.records import make_trace


def test_poison_without_a_topic_for_dead_letters_holds_up_a_reader_once(
    mock: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    address = mock.address("traffic", request_timeout_ms=1000)
    mock.forget(address.dead_letters)
    producer = KafkaProducer(**address.client)
    for _ in range(20):
        producer.send(address.topic, b"poison", partition=0)
    producer.send(address.topic, encode_trace(make_trace("sound")), partition=0)
    producer.flush()
    producer.close()
    reader = KafkaReader(address)
    started = time.monotonic()
    found = reader.read({}, 100)
    assert time.monotonic() - started < 4.0, "each of twenty waited for a second"
    assert [logged.trace.trace_id for logged in found] == ["sound"]
    assert reader.num_skipped() == 20
    (said,) = caplog.messages
    for words in ("record traffic/0/0 is skipped", "not a trace of schema 1", "traffic.dead does not take it"):
        assert words in said
    reader.close()
