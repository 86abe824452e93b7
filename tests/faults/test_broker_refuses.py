"""A broker that answers, and takes nothing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from pipelines.kafka_log import KafkaReader, KafkaWriter, producer
from pipelines.kafka_log.producer import Producer
from pipelines.trace import encode_trace
from pipelines.traffic_log import Position, advance
from tests.faults.mock_cluster import NOT_ENOUGH_REPLICAS, PRODUCE, MockCluster
from tests.pipelines.contract_traffic_log import PATIENCE
from tests.pipelines.records import make_trace, make_traces


def test_a_connection_that_is_given_up_sends_nothing_more_and_leaves_no_thread(mock: MockCluster) -> None:
    address = mock.address("traffic")
    mock.fail(PRODUCE, NOT_ENOUGH_REPLICAS, 100_000)
    num_threads = threading.active_count()
    sender = Producer(address)
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(sender.send, [(address.topic, b"key", encode_trace(make_trace()), [])])
        time.sleep(0.5)
        sender.close()
        with pytest.raises(KafkaError):
            sending.result(PATIENCE)
    assert threading.active_count() == num_threads
    mock.relent(PRODUCE)
    time.sleep(0.5)
    reader = KafkaReader(address)
    assert reader.end() == {}
    reader.close()


@pytest.mark.slow
def test_while_replicas_are_missing_traces_wait_and_every_try_cleans_up_after_itself(
    mock: MockCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(producer, "_DELIVERY_MS", 400)
    address = mock.address("traffic", request_timeout_ms=300)
    writer = KafkaWriter(address, tmp_path, max_queue=4096, max_bytes=1 << 30, max_age=1e9)
    mock.fail(PRODUCE, NOT_ENOUGH_REPLICAS, 100_000)
    num_threads = threading.active_count()
    traces = make_traces(50)
    assert all(writer.append(trace) for trace in traces)
    most = 0
    for _ in range(40):
        time.sleep(0.1)
        most = max(most, threading.active_count())
    assert writer.counters().spooled == 50
    assert most <= num_threads + 1, "threads of connections that were given up live on"
    (said,) = caplog.messages
    assert "50 traces wait in the spool" in said
    mock.relent(PRODUCE)
    assert writer.flush(PATIENCE)
    reader = KafkaReader(address)
    position: Position = {}
    found = []
    while len(found) < 50 and (page := reader.read(position, 100)):
        for logged in page:
            advance(position, logged.place)
            found.append(logged.trace)
    assert found == traces
    reader.close()
    writer.close(PATIENCE)
