"""Following: a reader that reads along on a thread of its own, as a trainer does, whatever happens to the log."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from pipelines.errors import LogUnavailable
from pipelines.trace import Trace
from pipelines.traffic_log import Position, TrafficReader, advance

_REST = 0.1
"""Seconds between two readings that found nothing."""


class Following:
    """Use as a context manager. found: what was handed out so far, in its order."""

    def __init__(self, reader: TrafficReader, limit: int = 500) -> None:
        self.found: list[Trace] = []
        self.outages = 0
        """Readings that were told that the log is away."""
        self._reader = reader
        self._limit = limit
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()
        if self._failed is not None and error is None:
            raise self._failed

    def wait_for(self, number: int, patience: float) -> bool:
        """Whether so many traces were found in time."""
        deadline = time.monotonic() + patience
        while len(self.found) < number and self._failed is None and time.monotonic() < deadline:
            time.sleep(_REST)
        return len(self.found) >= number

    def _read(self) -> None:
        position: Position = {}
        try:
            while not self._stop.is_set():
                try:
                    page = self._reader.read(position, self._limit)
                except LogUnavailable:
                    self.outages += 1
                    page = []
                for logged in page:
                    advance(position, logged.place)
                    self.found.append(logged.trace)
                if not page:
                    self._stop.wait(_REST)
        except BaseException as error:
            self._failed = error
