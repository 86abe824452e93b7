"""A broker that is gone for half a minute, or slow, while traffic goes on."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from pipelines.kafka_log import KafkaAddress, producer
from pipelines.trace import decode_trace
from pipelines.traffic_log import open_reader, open_writer
from tests.faults.following import Following
from tests.faults.load import Load, in_order, numbered
from tests.faults.proxy import ProxiedBroker

RATE = 200.0
BLOCKED = 1.0
"""Seconds: whoever appends for longer has waited for somebody. A call takes a tenth of a millisecond."""
PATIENCE = 90.0
"""Seconds after which a test gives up waiting; no test needs them."""

pytestmark = pytest.mark.slow


def in_topic(url: str, partitions: int) -> Counter[str]:
    """How often each trace is in the topic."""
    address = KafkaAddress.parse(url)
    consumer = KafkaConsumer(**address.client, enable_auto_commit=False)
    places = [TopicPartition(address.topic, number) for number in range(partitions)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(places)
    found: Counter[str] = Counter()
    deadline = time.monotonic() + PATIENCE
    while any(consumer.position(place) < ends[place] for place in places):
        assert time.monotonic() < deadline
        for records in consumer.poll(timeout_ms=200).values():
            found.update(decode_trace(record.value).trace_id for record in records)
    consumer.close()
    return found


def test_a_broker_gone_for_thirty_seconds_blocks_no_append_and_loses_repeats_or_reorders_nothing(
    proxied: ProxiedBroker, new_log: Callable[[int], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = new_log(4)
    writer = open_writer(url, spool=tmp_path / "spool")
    with Following(open_reader(url)) as along:
        with Load(writer, RATE) as load:
            assert along.wait_for(400, PATIENCE)
            caplog.clear()
            proxied.proxy.mute = True  # what is on its way arrives, and nobody hears of it
            time.sleep(1.0)
            proxied.proxy.cut()
            time.sleep(30.0)
            said = [record for record in caplog.records if record.levelno >= logging.WARNING]
            peak = writer.counters().spooled
            proxied.proxy.mend()
            time.sleep(3.0)
        assert writer.flush(PATIENCE)
        assert along.wait_for(len(load.ids), PATIENCE)
        time.sleep(1.0)  # for what would come twice
    final = writer.counters()
    writer.close(PATIENCE)
    assert load.longest < BLOCKED
    assert (load.refused, final.dropped, final.lost, final.pending, final.spooled) == (0, 0, 0, 0, 0)
    assert final.written == len(load.ids)
    assert peak > 25 * RATE, "the counter shows what waits"
    assert along.outages
    assert sorted(trace.trace_id for trace in along.found) == sorted(load.ids), "each once"
    assert in_order(along.found)
    assert max(in_topic(url, 4).values()) == 2, "nothing was sent twice: the test proves little"
    assert 1 <= len(said) <= 4, "it says so, and not with every try"
    for words in (proxied.proxy.address, "traces wait in the spool", "everdraft topics"):
        assert words in said[-1].getMessage()


def test_a_broker_that_takes_two_seconds_a_request_blocks_no_append_and_everything_arrives(
    proxied: ProxiedBroker, new_log: Callable[[int], str], tmp_path: Path
) -> None:
    url = new_log(4)
    proxied.proxy.delay = 2.0
    writer = open_writer(url, spool=tmp_path / "spool")
    with Following(open_reader(url)) as along:
        with Load(writer, RATE) as load:
            time.sleep(4.0)
        assert writer.flush(PATIENCE)
        assert along.wait_for(len(load.ids), PATIENCE)
    final = writer.counters()
    writer.close(PATIENCE)
    assert load.longest < BLOCKED
    assert (load.refused, final.dropped, final.lost, final.spooled) == (0, 0, 0, 0)
    assert sorted(trace.trace_id for trace in along.found) == sorted(load.ids)
    assert in_order(along.found)


def test_large_traces_reach_a_slow_broker_too(
    proxied: ProxiedBroker, new_log: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "_DELIVERY_MS", 10_100)
    url = new_log(1)
    proxied.proxy.delay = 1.0
    writer = open_writer(url, spool=tmp_path / "spool")
    # 300 kB each: a request of its own, hence a second of its own
    traces = [numbered(number, output_ids=tuple(range(100_000, 160_000))) for number in range(14)]
    assert all(writer.append(trace) for trace in traces)
    assert writer.flush(PATIENCE), "what cannot arrive in time is tried again, all of it, for ever"
    final = writer.counters()
    writer.close(PATIENCE)
    assert (final.dropped, final.lost, final.spooled) == (0, 0, 0)
    proxied.proxy.delay = 0.0
    assert set(in_topic(url, 1)) == {trace.trace_id for trace in traces}
