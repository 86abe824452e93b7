"""The traffic log: what serving appends to and the trainer reads from.

`open_writer(url)` and `open_reader(url)` choose the back end by URL (`sqlite:///path/traffic.db`). Every back
end passes `tests/pipelines/contract_traffic_log.py`.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from pipelines.errors import BadUrl
from pipelines.trace import Trace


class LogCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the traces given to a writer: always appended == written + dropped + pending."""

    appended: int
    written: int
    """Durable. A trace appended again counts again: it is in the log, once."""
    dropped: int
    """Queue full or closed, record unreadable or too large, or not written when `close` ran out of time."""
    pending: int
    """0 after `close`."""


class TrafficWriter(Protocol):
    """One per server. Thread-safe. No method raises, whatever the back end does."""

    def append(self, trace: Trace) -> bool:
        """Queues a trace and returns at once. False: dropped, and counted as such."""

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued so far is durable; False after `timeout` seconds."""

    def counters(self) -> LogCounters: ...

    def close(self, timeout: float = 5.0) -> None:
        """Flushes and stops the writer; what is not durable after `timeout` seconds is dropped."""


class LoggedTrace(msgspec.Struct, frozen=True):
    """A trace and where it stands."""

    offset: int
    trace: Trace


class TrafficReader(Protocol):
    """Any number, each keeping its own offset (the trainer: inside its own checkpoint).

    A log that nobody has written to yet is empty. All methods but `num_skipped` and `close` raise
    LogUnavailable.
    """

    def read(self, after: int, limit: int) -> list[LoggedTrace]:
        """Up to `limit` traces with offset > `after`, in order; fewer only at the end of the log.

        Offsets grow and are never used again; gaps are legal (retention, purge). Undecodable and expired
        records are skipped and counted.
        """

    def end(self) -> int:
        """The greatest offset written so far; 0 for an empty log. What is left may end before it."""

    def num_skipped(self) -> int:
        """Records skipped so far; one that is met again is not counted again."""

    def export(self, tenant: str) -> list[Trace]:
        """Everything held of one tenant, what has expired but is not deleted yet included."""

    def purge(self, tenant: str) -> int:
        """Deletes everything held of one tenant for good; returns how many traces went.

        What a writer has still in its queue is not held yet: flush it first.
        """

    def close(self) -> None: ...


def open_writer(url: str, *, max_queue: int = 4096, max_bytes: int = 1 << 30, max_age: float = 30 * 86400.0) -> TrafficWriter:
    """A writer for `url`. Raises BadUrl for a scheme without a back end.

    max_queue: traces that may wait for the back end. max_bytes, max_age (seconds): what the log keeps.
    """
    from pipelines.sqlite_log import SqliteWriter

    path = sqlite_path(url, "traffic")
    return SqliteWriter(path, max_queue=max_queue, max_bytes=max_bytes, max_age=max_age)


def open_reader(url: str) -> TrafficReader:
    """A reader for `url`. Raises BadUrl for a scheme without a back end."""
    from pipelines.sqlite_log import SqliteReader

    return SqliteReader(sqlite_path(url, "traffic"))


def sqlite_path(url: str, setting: str) -> str:
    """The file of a `sqlite:///` URL (three slashes: relative, four: absolute).

    Raises BadUrl, naming the setting, for any other URL.
    """
    parts = urlsplit(url)
    path = parts.path[1:]
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not path:
        raise BadUrl(f"{setting}: {url!r} names no known back end; expected sqlite:///path/to/file.db")
    return path
