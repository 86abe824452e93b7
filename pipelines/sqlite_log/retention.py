"""Retention: what the log forgets, by expiry, age and bytes, in steps between which others read and write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.sqlite import Database

_STEP_ROWS = 500
_AGE_INTERVAL = 60.0
_VACUUM_PAGES = 256
_HIGH, _LOW = 0.95, 0.9
"""Shares of the bound in use: above the first, traces are deleted down to the second. So not every commit has
to delete, and new traces find room in the pages of old ones before the file outgrows its bound."""


@dataclass(slots=True)
class Retention:
    """Bounds of a log: bytes of the file (its write-ahead log adds a few MB), seconds of a trace's age."""

    max_bytes: int
    max_age: float
    _age_due: float = field(default=0.0, init=False)

    def enforce(self, database: Database, now: float) -> Iterator[None]:
        """Deletes what is too much, a transaction for each item of the iterator.

        The size is looked at every time, expiry and age once a minute. Raises sqlite3.Error or OSError.
        """
        if time.monotonic() >= self._age_due:  # not by `now`, which may go back
            while self._forget_old(database, now):
                yield
            self._age_due = time.monotonic() + _AGE_INTERVAL
        if _used_bytes(database) > _HIGH * self.max_bytes:
            while self._forget_first(database):
                yield
        while self._give_back(database):
            yield

    def _forget_old(self, database: Database, now: float) -> bool:
        with database.transaction() as connection:
            deleted = connection.execute(
                "DELETE FROM traces WHERE offset IN (SELECT offset FROM traces WHERE logged_at < ? OR expires_at <= ? LIMIT ?)",
                (now - self.max_age, now, _STEP_ROWS),
            )
            return deleted.rowcount == _STEP_ROWS

    def _forget_first(self, database: Database) -> bool:
        """Deletes the oldest traces, as many as their bytes seem to demand; False: there was no need."""
        excess = _used_bytes(database) - _LOW * self.max_bytes
        last = 0
        for offset, size in database.query("SELECT offset, length(body) FROM traces ORDER BY offset LIMIT ?", _STEP_ROWS):
            if excess <= 0:
                break
            last, excess = offset, excess - size
        with database.transaction() as connection:
            return connection.execute("DELETE FROM traces WHERE offset <= ?", (last,)).rowcount > 0

    def _give_back(self, database: Database) -> bool:
        """Returns some unused pages to the file system; False: there was no need, or it did not help."""
        before = _file_bytes(database)
        if before <= self.max_bytes:
            return False
        database.query(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        return _file_bytes(database) < before


def _file_bytes(database: Database) -> int:
    return _pragma(database, "page_count") * _pragma(database, "page_size")


def _used_bytes(database: Database) -> int:
    return _file_bytes(database) - _pragma(database, "freelist_count") * _pragma(database, "page_size")


def _pragma(database: Database, name: str) -> int:
    ((value,),) = database.query(f"PRAGMA {name}")
    return int(value)
