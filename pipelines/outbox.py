"""Outbox: the bounded queue between whoever appends a record and the one thread that makes it durable.

It keeps the books: at every moment appended == written + dropped + pending.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from pipelines.traffic_log import LogCounters

Record = TypeVar("Record")


class Outbox(Generic[Record]):
    """First in, first out, at most `max_records` records of `max_bytes` bytes together, in flight or not.

    `take`, `settle` and `pause` are for the writer's thread alone.
    """

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Record] = deque()
        self._waiting_bytes = 0
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._appended = 0
        self._written = 0
        self._dropped = 0
        self._queued = 0
        self._wanted = 0
        """How many of all records ever queued somebody waits for."""
        self._closed = False
        self._abandoned = False

    def put(self, record: Record, size: int) -> bool:
        """Queues a record of `size` bytes; False: full or closed, and counted as dropped."""
        with self._changed:
            self._appended += 1
            if self._closed or not self._has_room(size):
                self._dropped += 1
                return False
            self._waiting.append(record)
            self._waiting_bytes += size
            self._queued += 1
            if len(self._waiting) == 1 or self._crowded():
                self._changed.notify_all()
            return True

    def refuse(self) -> None:
        """Counts a record that cannot even be queued."""
        with self._changed:
            self._appended += 1
            self._dropped += 1

    def take(self, linger: float, patience: float) -> list[Record] | None:
        """Everything that waits, now in flight until settled.

        Waits up to `patience` seconds for a first record, then `linger` seconds for company, unless the queue
        gets crowded or somebody flushes. Empty: none came. None: closed, and everything was taken.
        """
        with self._changed:
            assert not self._in_flight, "the records taken before were not settled"
            self._changed.wait_for(lambda: self._waiting or self._closed, patience)
            if self._waiting:
                self._changed.wait_for(self._urgent, linger)
            elif self._closed:
                return None
            batch = list(self._waiting)
            self._in_flight, self._in_flight_bytes = len(batch), self._waiting_bytes
            self._waiting.clear()
            self._waiting_bytes = 0
            return batch

    def settle(self) -> None:
        """What was in flight is durable."""
        with self._changed:
            self._written += self._in_flight
            self._in_flight = self._in_flight_bytes = 0
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Sleeps, unless the records are given up meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned, seconds)

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued so far is durable; False: not in `timeout` seconds, or given up."""
        with self._changed:
            goal = self._queued
            self._wanted = max(self._wanted, goal)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._written >= goal or self._abandoned, timeout)
            return self._written >= goal

    def close(self) -> None:
        """Takes no more; what is queued is still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """Gives up what is not durable yet and counts it as dropped; returns how many records that were."""
        with self._changed:
            lost = len(self._waiting) + self._in_flight
            self._closed = self._abandoned = True
            self._waiting.clear()
            self._waiting_bytes = self._in_flight = self._in_flight_bytes = 0
            self._dropped += lost
            self._changed.notify_all()
            return lost

    @property
    def abandoned(self) -> bool:
        return self._abandoned

    def counters(self) -> LogCounters:
        with self._changed:
            return LogCounters(
                appended=self._appended,
                written=self._written,
                dropped=self._dropped,
                pending=len(self._waiting) + self._in_flight,
            )

    def _has_room(self, size: int) -> bool:
        num_held = len(self._waiting) + self._in_flight
        num_bytes = self._waiting_bytes + self._in_flight_bytes
        return num_held < self._max_records and num_bytes + size <= self._max_bytes

    def _crowded(self) -> bool:
        return 2 * len(self._waiting) >= self._max_records or 2 * self._waiting_bytes >= self._max_bytes

    def _urgent(self) -> bool:
        taken = self._queued - len(self._waiting)
        return self._closed or self._abandoned or taken < self._wanted or self._crowded()
