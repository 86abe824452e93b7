"""KafkaWriter: appending only queues; a thread commits to the spool, another ships from there to the topic.

A trace is durable once it is in the spool, a fifth of a second after it was appended, whatever the broker does. kafka-python
blocks, in its constructor and in `send`, for as long as a broker is away: only the shipping thread ever waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from kafka.errors import KafkaError

from pipelines.complaints import Complaints
from pipelines.errors import LogUnavailable
from pipelines.kafka_log.address import KafkaAddress
from pipelines.kafka_log.producer import Producer, Record
from pipelines.kafka_log.records import headers_of, key_of
from pipelines.kafka_log.spool import Spool
from pipelines.sqlite_log.reader import SqliteReader
from pipelines.sqlite_log.writer import SqliteWriter
from pipelines.trace import Trace, encode_trace
from pipelines.traffic_log import LogCounters, LoggedTrace

log = logging.getLogger(__name__)

_SHIPMENT, _SHIPMENT_BYTES = 200, 1 << 20
"""Sent at once, at most, but for a single trace that is larger: all of it has to arrive in time, and decoded it is ten times
as large."""
_LOOK = 0.1
"""Seconds between two looks into the spool."""
_FIRST_BACKOFF, _MAX_BACKOFF = 0.2, 5.0


class KafkaWriter:
    """A `TrafficWriter` for one topic. max_bytes, max_age (seconds): of the spool, whose oldest traces go when it is full."""

    def __init__(self, address: KafkaAddress, spool: Path, *, max_queue: int, max_bytes: int, max_age: float) -> None:
        self._address = address
        self._spool = Spool(spool)
        self._log = SqliteWriter(
            self._spool.path, max_queue=max_queue, max_bytes=max_bytes, max_age=max_age, max_record=address.max_record_bytes
        )
        self._reader = SqliteReader(self._spool.path)
        self._watcher = SqliteReader(self._spool.path)
        """A connection of its own for counting: whoever asks never waits for a commit of the shipping thread."""
        self._producer = Producer(address)
        self._moved = threading.Condition()
        self._shipped = 0
        """Offset in the spool up to which everything is in the topic."""
        self._forgotten = 0
        """The same, up to which everything is deleted from the spool."""
        self._num_lost = 0
        self._closing = threading.Event()
        self._complaints = Complaints(log, f"traffic log {address}")
        self._thread = threading.Thread(target=self._ship, name="traffic-log-kafka", daemon=True)
        self._thread.start()

    def append(self, trace: Trace) -> bool:
        """Queues a trace and returns at once, whatever disk and broker do. False: dropped, and counted as such."""
        return self._log.append(trace)

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued so far is in the topic; False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if not self._log.flush(timeout):
            return False
        try:
            goal = self._watcher.end().get(0, 0)
        except LogUnavailable:
            return False
        with self._moved:
            return self._moved.wait_for(lambda: self._shipped >= goal, max(0.0, deadline - time.monotonic()))

    def counters(self) -> LogCounters:
        """Written: in the spool, or beyond it. Spooled: of these, still in the spool."""
        counters = self._log.counters()
        return LogCounters(
            appended=counters.appended,
            written=counters.written,
            dropped=counters.dropped,
            pending=counters.pending,
            spooled=self._num_spooled(),
            lost=self._num_lost,
        )

    def close(self, timeout: float = 5.0) -> None:
        """Flushes and stops the writer. What the broker has not taken by then stays in the spool, for the next start."""
        deadline = time.monotonic() + timeout
        self.flush(timeout)
        self._log.close(max(0.0, deadline - time.monotonic()))
        self._closing.set()
        self._thread.join(max(0.0, deadline - time.monotonic()) + _LOOK)
        if not self._thread.is_alive():  # else the spool stays taken until the process ends: nobody may send from it beside it
            self._spool.release()
        self._watcher.close()

    def _num_spooled(self) -> int:
        try:
            return max(0, self._watcher.end().get(0, 0) - self._shipped)
        except LogUnavailable:
            return 0

    def _ship(self) -> None:
        backoff = _FIRST_BACKOFF
        while not self._closing.is_set():
            try:
                sent = self._ship_some()
            except Exception as error:  # whatever it is, the traces that wait are to be tried again
                if not isinstance(error, (KafkaError, LogUnavailable, OSError)):
                    log.exception("traffic log %s", self._address)
                self._complaints.warn(f"{_what(error)}; {self._num_spooled()} traces wait in the spool and are tried again")
                self._closing.wait(backoff)
                backoff = min(2 * backoff, _MAX_BACKOFF)
            else:
                backoff = _FIRST_BACKOFF
                if not sent:
                    self._closing.wait(_LOOK)
        self._producer.close()
        self._reader.close()

    def _ship_some(self) -> bool:
        """Sends the oldest traces of the spool; False: there are none."""
        end = self._reader.end().get(0, 0)  # before reading: what comes meanwhile is for the next time
        if end < self._shipped:  # somebody deleted the spool, and it was begun anew
            self._shipped = self._forgotten = 0
        logged = self._reader.read_all({0: self._shipped}, _SHIPMENT, _SHIPMENT_BYTES)
        last = logged[-1].place.offset if logged else end
        if logged and not self._shipped:  # the first look: what is before was sent in an earlier life
            self._shipped = logged[0].place.offset - 1
        missing = last - self._shipped - len(logged) if self._shipped else 0
        if logged:
            for index in self._producer.send([self._record(each) for each in logged]):
                self._lose(1, f"{logged[index].trace.trace_id!r} is too large for the broker")
        if missing:
            self._lose(missing, "too old or too many for the spool: see traffic.max_age and traffic.max_bytes")
        with self._moved:
            self._shipped = max(self._shipped, last)
            self._moved.notify_all()
        if self._forgotten < self._shipped:  # last: what a full disk cannot forget is not to be sent again
            self._reader.drop(self._shipped)
            self._forgotten = self._shipped
        return bool(logged)

    def _lose(self, number: int, why: str) -> None:
        self._num_lost += number
        self._complaints.warn(f"{number} traces never reach the topic: {why}")

    def _record(self, logged: LoggedTrace) -> Record:
        return self._address.topic, key_of(logged.trace), encode_trace(logged.trace), headers_of(logged.trace)


def _what(error: Exception) -> str:
    """What went wrong; where it was the broker, what to look at."""
    if isinstance(error, KafkaError):
        return f"{error} (does the broker answer, and are its topics there? `everdraft topics` makes them)"
    return f"{type(error).__name__}: {error}"
