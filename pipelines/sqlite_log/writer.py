"""SqliteWriter: appending only encodes and queues; a thread of its own commits."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from pathlib import Path

from pipelines.complaints import Complaints
from pipelines.errors import BadTrace
from pipelines.outbox import Outbox
from pipelines.sqlite_log.retention import Retention
from pipelines.sqlite_log.schema import INSERT, Row, log_file
from pipelines.trace import Trace, decode_trace, encode_trace
from pipelines.traffic_log import LogCounters

log = logging.getLogger(__name__)

MAX_RECORD_BYTES = 8 << 20
"""About a conversation of a million tokens."""
MAX_QUEUE_BYTES = 64 << 20
COMMIT_DELAY = 0.2
"""Seconds a commit waits for company: what a killed server may lose."""
_HOUSEKEEPING_INTERVAL = 60.0
_FIRST_BACKOFF, _MAX_BACKOFF = 0.05, 1.0


class SqliteWriter:
    """A `TrafficWriter` for one SQLite file.

    A database that is locked, full, away or broken is retried for ever; meanwhile the queue fills, and then
    traces are dropped and counted. max_bytes, max_age (seconds): see Retention. max_record: bytes of one trace.
    """

    def __init__(
        self, path: str | Path, *, max_queue: int, max_bytes: int, max_age: float, max_record: int = MAX_RECORD_BYTES
    ) -> None:
        self._database = log_file(path, create=True, busy_seconds=1.0)
        self._outbox: Outbox[Row] = Outbox(max_queue, MAX_QUEUE_BYTES)
        self._max_record = min(max_record, max_bytes // 4)
        self._retention = Retention(max_bytes, max_age)
        self._complaints = Complaints(log, f"traffic log {self._database.path}")
        self._thread = threading.Thread(target=self._write, name="traffic-log", daemon=True)
        self._thread.start()

    def append(self, trace: Trace) -> bool:
        """Queues a trace and returns at once, whatever the disk does. False: dropped, and counted as such."""
        try:
            body = encode_trace(trace)
            decode_trace(body)  # 40 us: what no reader could read is refused at the door
        except (BadTrace, TypeError, ValueError, OverflowError) as error:
            return self._refuse(trace, str(error))
        if len(body) > self._max_record:
            return self._refuse(trace, f"{len(body)} bytes, expected at most {self._max_record}")
        row = (trace.trace_id, trace.tenant, time.time(), trace.expires_at, body)
        queued = self._outbox.put(row, len(body))
        if not queued:
            self._complaints.warn(f"traces are dropped, the queue is full or closed: {self.counters()}")
        return queued

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued so far is durable; False after `timeout` seconds."""
        return self._outbox.flush(timeout)

    def counters(self) -> LogCounters:
        """A repeated trace counts as written: it is in the log, once."""
        return self._outbox.counters()

    def close(self, timeout: float = 5.0) -> None:
        """Flushes and stops the writer; what is not durable after `timeout` seconds is dropped."""
        self._outbox.close()
        self._thread.join(timeout)
        if self._thread.is_alive() and (lost := self._outbox.abandon()):
            log.error("traffic log %s: %d traces dropped, not written in time", self._database.path, lost)

    def _write(self) -> None:
        while (rows := self._outbox.take(COMMIT_DELAY, _HOUSEKEEPING_INTERVAL)) is not None:
            if rows:
                self._store(rows)
            if not self._outbox.abandoned:
                self._forget()
        self._database.close()

    def _store(self, rows: list[Row]) -> None:
        backoff = _FIRST_BACKOFF
        while not self._outbox.abandoned:
            try:
                with self._database.transaction() as connection:
                    connection.executemany(INSERT, rows)
            except (sqlite3.Error, OSError) as error:
                now = self.counters()
                self._complaints.warn(f"{error}; {now.pending} traces wait and are tried again, {now.dropped} were dropped")
                self._outbox.pause(backoff)
                backoff = min(2 * backoff, _MAX_BACKOFF)
            else:
                self._outbox.settle()
                return

    def _forget(self) -> None:
        try:
            for _ in self._retention.enforce(self._database, time.time()):
                if self._outbox.abandoned:
                    return
        except (sqlite3.Error, OSError) as error:
            self._complaints.warn(f"{error}; old traces stay until the next try")

    def _refuse(self, trace: Trace, why: str) -> bool:
        self._outbox.refuse()
        self._complaints.warn(f"trace {trace.trace_id!r} dropped: {why}")
        return False
