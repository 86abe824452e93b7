"""SqliteReader: short reads of the log; export and purge of a tenant."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from pipelines.errors import BadTrace, LogUnavailable
from pipelines.sqlite_log.schema import log_file
from pipelines.trace import Trace, decode_trace
from pipelines.traffic_log import LoggedTrace, Place, Position

_PARTITION = 0
_PURGE_ROWS = 500
"""Rows deleted in one transaction: a few milliseconds, between which the writer commits."""


class SqliteReader:
    """A `TrafficReader` of one SQLite file. A file that is not there (yet) is an empty log.

    patience: seconds to wait for locks that others hold.
    """

    def __init__(self, path: str | Path, *, patience: float = 5.0) -> None:
        self._database = log_file(path, create=False, busy_seconds=patience)
        self._num_skipped = 0
        self._skipped_up_to = 0

    def read(self, after: Position, limit: int) -> list[LoggedTrace]:
        """Up to `limit` traces with offset > `after`, in order. Raises LogUnavailable."""
        return self._read(after, limit, time.time())

    def read_all(self, after: Position, limit: int, max_bytes: int) -> list[LoggedTrace]:
        """As `read`, what has expired included, for handing it on; as many as `max_bytes` hold, and at least one.

        Raises LogUnavailable.
        """
        sql = "SELECT length(body) FROM traces WHERE offset > ? ORDER BY offset LIMIT ?"
        sizes = accumulate(size for (size,) in self._query(sql, after.get(_PARTITION, 0), limit))
        return self._read(after, max(1, sum(size <= max_bytes for size in sizes)), -math.inf)

    def end(self) -> Position:
        """The greatest offset written so far, even if deleted since. Raises LogUnavailable."""
        end = self._last()
        return {_PARTITION: end} if end else {}

    def gone(self, traces: Sequence[LoggedTrace]) -> frozenset[Place]:
        """Places of those of `traces` that are in the file no more, or have expired. Raises LogUnavailable."""
        now = time.time()
        left = [each for each in traces if each.trace.expires_at is None or each.trace.expires_at > now]
        marks = ", ".join("?" * len(left))
        rows = self._query(f"SELECT offset FROM traces WHERE offset IN ({marks})", *(each.place.offset for each in left))
        held = {offset for (offset,) in rows}
        return frozenset(each.place for each in traces if each not in left or each.place.offset not in held)

    def settled(self, position: Position) -> None:
        """Nobody watches."""

    def num_skipped(self) -> int:
        """Records passed over as undecodable or expired; one that is met again is not counted again."""
        return self._num_skipped

    def export(self, tenant: str) -> list[Trace]:
        """Everything held of one tenant, expired or not. Raises LogUnavailable."""
        rows = self._query("SELECT offset, body FROM traces WHERE tenant = ? ORDER BY offset", tenant)
        return [logged.trace for logged in self._decoded(rows, expiring_at=-math.inf)]

    def purge(self, tenant: str) -> int:
        """Deletes everything held of one tenant; returns how many traces went. Raises LogUnavailable.

        No copy is left in the file or its write-ahead log, which takes seconds for a large log. What a writer
        has still in its queue is not held yet: flush it first.
        """
        end, count = self._last(), 0
        try:
            while deleted := self._delete_some(tenant, end):
                count += deleted
            self._scrub()
        except FileNotFoundError:
            return 0
        except (sqlite3.Error, OSError) as error:
            raise LogUnavailable(
                f"traffic log {self._database.path}: {error}; {count} traces of {tenant!r} are deleted, "
                "copies of them may be left: purge again"
            ) from error
        return count

    def drop(self, through: int) -> None:
        """Deletes everything up to an offset: it has gone on to another log. Raises LogUnavailable."""
        try:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM traces WHERE offset <= ?", (through,))
        except (sqlite3.Error, OSError) as error:
            raise LogUnavailable(f"traffic log {self._database.path}: {error}") from error

    def close(self) -> None:
        self._database.close()

    def _read(self, after: Position, limit: int, expiring_at: float) -> list[LoggedTrace]:
        found: list[LoggedTrace] = []
        last = after.get(_PARTITION, 0)
        while len(found) < limit:
            sql = "SELECT offset, body FROM traces WHERE offset > ? ORDER BY offset LIMIT ?"
            rows = self._query(sql, last, limit - len(found))
            if not rows and last > self._last():  # somebody deleted the file, and it was begun anew
                last = self._skipped_up_to = 0
                continue
            if not rows:
                break
            found += self._decoded(rows, expiring_at)
            last = rows[-1][0]
        return found

    def _last(self) -> int:
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'traces'")
        return int(rows[0][0]) if rows else 0

    def _delete_some(self, tenant: str, end: int) -> int:
        with self._database.transaction() as connection:
            return connection.execute(
                "DELETE FROM traces WHERE offset IN (SELECT offset FROM traces WHERE tenant = ? AND offset <= ? LIMIT ?)",
                (tenant, end, _PURGE_ROWS),
            ).rowcount

    def _scrub(self) -> None:
        """Removes the copies that deleting leaves behind.

        `secure_delete` is not enough: rows that a b-tree moved between pages left readable bytes in 11 of 40
        random logs.
        """
        with self._database.connection() as connection:
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("others keep the write-ahead log in use")

    def _query(self, sql: str, *values: Any) -> list[Any]:
        try:
            return self._database.query(sql, *values)
        except FileNotFoundError:
            return []
        except (sqlite3.Error, OSError) as error:
            raise LogUnavailable(f"traffic log {self._database.path}: {error}") from error

    def _decoded(self, rows: list[tuple[int, bytes]], expiring_at: float) -> list[LoggedTrace]:
        found: list[LoggedTrace] = []
        for offset, body in rows:
            trace = _sound(body)
            if trace is not None and (trace.expires_at is None or trace.expires_at > expiring_at):
                found.append(LoggedTrace(Place(offset), trace))
            elif offset > self._skipped_up_to:
                self._skipped_up_to = offset
                self._num_skipped += 1
        return found


def _sound(body: bytes) -> Trace | None:
    try:
        return decode_trace(body)
    except BadTrace:
        return None
