"""The embedded traffic log: one SQLite file of its own, written by one thread per server, read by anybody."""

from __future__ import annotations

from pipelines.sqlite_log.reader import SqliteReader
from pipelines.sqlite_log.writer import SqliteWriter

__all__ = ["SqliteReader", "SqliteWriter"]
