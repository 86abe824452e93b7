"""What every traffic log keeps, whatever it is made of.

A back end's tests inherit TrafficLogContract and give it the fixture `url` of an empty log that nobody has opened yet; where a
writer needs more than that, `opening` too. One whose queue is all it has in an outage inherits QueueContract as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

from pipelines.trace import Trace
from pipelines.traffic_log import (
    LogCounters,
    LoggedTrace,
    Position,
    TrafficReader,
    TrafficWriter,
    advance,
    covers,
    distance,
    open_reader,
    open_writer,
)
from tests.pipelines.records import make_trace, make_traces

Outage = Callable[[], AbstractContextManager[None]]
Opening = Callable[..., TrafficWriter]
PATIENCE = 90.0
"""Seconds after which a test gives up waiting. A writer whose broker falls silent at the wrong moment needs 40: 22 until a
shipment is given up, 2 for the producer to end, 5 before the next try, 10 to connect."""


def read_all(reader: TrafficReader) -> list[Trace]:
    return [logged.trace for logged in reader.read({}, 1_000_000)]


def position_after(logged: list[LoggedTrace]) -> Position:
    position: Position = {}
    for each in logged:
        advance(position, each.place)
    return position


def fill(writer: TrafficWriter, traces: list[Trace]) -> None:
    assert all(writer.append(trace) for trace in traces)
    assert writer.flush(PATIENCE)


def balanced(counters: LogCounters) -> bool:
    return counters.appended == counters.written + counters.dropped + counters.pending


class TrafficLogContract:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def opening(self, url: str) -> Opening:
        """Opens a writer of the log."""
        return partial(open_writer, url)

    @pytest.fixture
    def writer(self, opening: Opening) -> Iterator[TrafficWriter]:
        writer = opening()
        yield writer
        writer.close(PATIENCE)

    @pytest.fixture
    def reader(self, url: str) -> Iterator[TrafficReader]:
        reader = open_reader(url)
        yield reader
        reader.close()

    def test_a_log_that_nobody_wrote_to_is_empty(self, reader: TrafficReader) -> None:
        assert (reader.read({}, 10), reader.end(), reader.num_skipped()) == ([], {}, 0)
        assert (reader.export("default"), reader.purge("default")) == ([], 0)

    def test_what_is_appended_is_read_back_in_order(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        traces = make_traces(100)
        fill(writer, traces)
        assert read_all(reader) == traces

    def test_a_reader_goes_on_where_it_stopped(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        traces = make_traces(10)
        fill(writer, traces)
        first = reader.read({}, 4)
        position = position_after(first)
        rest = reader.read(position, 100)
        assert [logged.trace for logged in first + rest] == traces
        assert len(first) == 4
        assert distance(position, reader.end()) == 6
        assert position_after(first + rest) == reader.end()
        assert reader.read(reader.end(), 100) == []

    def test_a_reader_that_was_there_first_sees_what_comes_later(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        assert reader.read({}, 10) == []
        fill(writer, make_traces(1))
        assert len(reader.read({}, 10)) == 1

    def test_a_trace_appended_again_is_read_once(self, opening: Opening, writer: TrafficWriter, reader: TrafficReader) -> None:
        trace = make_trace()
        fill(writer, [trace, trace])
        fill(writer, [trace])
        restarted = opening()
        fill(restarted, [trace])
        restarted.close(PATIENCE)
        assert read_all(reader) == [trace]
        assert writer.counters() == LogCounters(appended=3, written=3, dropped=0, pending=0)

    def test_two_servers_write_one_log(self, opening: Opening, writer: TrafficWriter, reader: TrafficReader) -> None:
        ours, theirs = make_traces(50, "ours"), make_traces(50, "theirs")
        other = opening()
        for mine, yours in zip(ours, theirs, strict=True):
            assert writer.append(mine)
            assert other.append(yours)
        assert writer.flush(PATIENCE)
        assert other.flush(PATIENCE)
        other.close(PATIENCE)
        found = read_all(reader)
        assert [trace for trace in found if trace in ours] == ours
        assert [trace for trace in found if trace in theirs] == theirs
        assert len(found) == 100

    def test_expired_traces_are_skipped_and_counted_once(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        fill(writer, [make_trace("first")])  # whatever a back end deletes when it starts, it has deleted now
        expired = make_traces(5, "expired", tenant="gone", expires_at=time.time() - 1)
        fill(writer, [*expired, make_trace("last", expires_at=time.time() + 3600)])
        for _ in range(2):
            # a limit of 2: a reader that counted the five against it would never see the last
            assert [logged.trace.trace_id for logged in reader.read({}, 2)] == ["first", "last"]
        assert reader.num_skipped() == 5
        assert reader.export("gone") == expired

    def test_a_tenants_traces_are_exported_and_nobody_elses(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        ours, theirs = make_traces(3, "ours", tenant="us"), make_traces(3, "theirs", tenant="them")
        fill(writer, [trace for pair in zip(ours, theirs, strict=True) for trace in pair])
        assert reader.export("us") == ours
        assert reader.export("nobody") == []

    def test_a_purge_takes_one_tenant_and_leaves_the_others(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        theirs = make_traces(3, "theirs", tenant="them")
        fill(writer, make_traces(1200, "ours", tenant="us") + theirs)
        assert reader.purge("us") == 1200
        assert reader.export("us") == []
        assert read_all(reader) == theirs
        assert reader.purge("us") == 0

    def test_offsets_are_not_used_again_after_a_purge(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        fill(writer, make_traces(5, "ours", tenant="us"))
        assert len(read_all(reader)) == 5
        end = reader.end()
        reader.purge("us")
        assert reader.end() == end
        fill(writer, [make_trace("next")])
        (logged,) = reader.read({}, 10)
        assert not covers(end, logged.place)

    def test_what_was_purged_or_has_expired_is_gone_and_the_rest_not(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        soon = time.time() + 1.0
        fill(writer, [make_trace("ours", tenant="us"), make_trace("theirs", tenant="them"), make_trace("brief", expires_at=soon)])
        logged = reader.read({}, 10)
        ours, _, brief = (each.place for each in logged)
        assert reader.gone(logged) == frozenset()
        reader.purge("us")
        assert reader.gone(logged) == {ours}
        time.sleep(max(0.0, soon - time.time()))
        assert reader.gone(logged) == {ours, brief}
        assert reader.gone([]) == frozenset()

    def test_telling_what_is_settled_changes_no_reading(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        reader.settled({})
        fill(writer, make_traces(3))
        reader.settled(reader.end())
        assert len(reader.read({}, 10)) == 3

    def test_a_log_can_be_read_and_purged_while_it_is_written(self, writer: TrafficWriter, reader: TrafficReader) -> None:
        traces = [make_trace(f"trace-{number}", tenant=f"tenant-{number % 2}") for number in range(2000)]
        appending = threading.Thread(target=fill, args=(writer, traces))
        appending.start()
        seen: list[Trace] = []
        position: Position = {}
        num_purged = 0
        done = False
        while not done:
            done = not appending.is_alive()
            while found := reader.read(position, 100):
                for logged in found:
                    seen.append(logged.trace)
                    advance(position, logged.place)
            num_purged += reader.purge("tenant-1")
        assert [trace for trace in seen if trace.tenant == "tenant-0"] == traces[::2]
        assert num_purged == 1000
        assert read_all(reader) == traces[::2]

    def test_what_no_reader_could_read_is_refused_at_the_door(
        self, writer: TrafficWriter, reader: TrafficReader, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert not writer.append(make_trace("bad", prompt_ids=("one",)))
        assert "prompt_ids" in caplog.text
        assert not writer.append(make_trace("\ud800"))
        assert not writer.append(make_trace("huge", prompt_ids=(2**70,)))
        fill(writer, [make_trace("good")])
        assert writer.counters() == LogCounters(appended=4, written=1, dropped=3, pending=0)
        assert [trace.trace_id for trace in read_all(reader)] == ["good"]

    def test_a_record_larger_than_the_log_should_hold_is_dropped(self, opening: Opening) -> None:
        writer = opening(max_bytes=1 << 20)
        assert not writer.append(make_trace("large", output_ids=tuple(range(1 << 20))))
        fill(writer, [make_trace("small")])
        assert writer.counters() == LogCounters(appended=2, written=1, dropped=1, pending=0)
        writer.close(PATIENCE)

    def test_close_makes_everything_durable_and_takes_no_more(self, opening: Opening, reader: TrafficReader) -> None:
        writer = opening()
        traces = make_traces(500)
        assert all(writer.append(trace) for trace in traces)
        writer.close(PATIENCE)
        writer.close(PATIENCE)
        assert read_all(reader) == traces
        assert not writer.append(make_trace("late"))
        assert writer.counters() == LogCounters(appended=501, written=500, dropped=1, pending=0)

    def test_the_books_balance_at_every_moment(self, opening: Opening) -> None:
        writer = opening(max_queue=64)
        sampled: list[LogCounters] = []
        stop = threading.Event()

        def sample() -> None:
            while not stop.is_set():
                sampled.append(writer.counters())

        threads = [
            threading.Thread(target=lambda name=name: [writer.append(each) for each in make_traces(500, name)])
            for name in ("first", "second")
        ]
        sampler = threading.Thread(target=sample)
        for thread in (sampler, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        writer.close(PATIENCE)
        stop.set()
        sampler.join()
        assert all(balanced(counters) for counters in sampled)
        final = writer.counters()
        assert balanced(final)
        assert (final.appended, final.pending) == (1000, 0)
        assert final.written > 0


class QueueContract(TrafficLogContract):
    @pytest.fixture
    def outage(self) -> Outage:
        """Makes a context manager during which the back end of the log takes nothing."""
        raise NotImplementedError

    def test_an_outage_delays_traces_and_drops_only_what_the_queue_cannot_hold(
        self, opening: Opening, outage: Outage, reader: TrafficReader
    ) -> None:
        writer = opening(max_queue=10)
        fill(writer, [make_trace("before")])
        with outage():
            taken = [trace for trace in make_traces(30) if writer.append(trace)]
            assert not writer.flush(0.05)
            assert writer.counters() == LogCounters(appended=31, written=1, dropped=20, pending=10)
        assert writer.flush(PATIENCE)
        assert writer.counters() == LogCounters(appended=31, written=11, dropped=20, pending=0)
        writer.close(PATIENCE)
        assert [trace.trace_id for trace in read_all(reader)] == [
            "before",
            *(each.trace_id for each in taken),
        ]

    def test_a_writer_closed_in_an_outage_counts_what_it_could_not_write(
        self, opening: Opening, outage: Outage, reader: TrafficReader
    ) -> None:
        writer = opening()
        fill(writer, [make_trace("before")])
        with outage():
            for trace in make_traces(5):
                assert writer.append(trace)
            writer.close(0.1)
            assert writer.counters() == LogCounters(appended=6, written=1, dropped=5, pending=0)
            assert not writer.flush(PATIENCE)
        assert writer.counters() == LogCounters(appended=6, written=1, dropped=5, pending=0)
