"""SqliteReader: short reads of the log; export and purge of a tenant."""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path
from typing import Any

from pipelines.errors import BadTrace, LogUnavailable
from pipelines.sqlite_log.schema import log_file
from pipelines.trace import Trace, decode_trace
from pipelines.traffic_log import LoggedTrace

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

    def read(self, after: int, limit: int) -> list[LoggedTrace]:
        """Up to `limit` traces with offset > `after`, in order. Raises LogUnavailable."""
        found: list[LoggedTrace] = []
        while len(found) < limit:
            sql = "SELECT offset, body FROM traces WHERE offset > ? ORDER BY offset LIMIT ?"
            rows = self._query(sql, after, limit - len(found))
            if not rows:
                break
            found += self._decoded(rows, expiring_at=time.time())
            after = rows[-1][0]
        return found

    def end(self) -> int:
        """The greatest offset written so far, even if deleted since; 0: none. Raises LogUnavailable."""
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'traces'")
        return int(rows[0][0]) if rows else 0

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
        end, count = self.end(), 0
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

    def close(self) -> None:
        self._database.close()

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
                found.append(LoggedTrace(offset, trace))
            elif offset > self._skipped_up_to:
                self._skipped_up_to = offset
                self._num_skipped += 1
        return found


def _sound(body: bytes) -> Trace | None:
    try:
        return decode_trace(body)
    except BadTrace:
        return None
