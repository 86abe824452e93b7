"""The traffic log: what serving appends to and the trainer reads from.

`open_writer(url)` and `open_reader(url)` choose the back end by URL (`sqlite:///path/traffic.db`). Every back end
passes `tests/pipelines/contract_traffic_log.py`.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from pipelines.errors import BadUrl
from pipelines.trace import Trace


class LogCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the traces given to a writer. After `close`: appended == written + dropped."""

    appended: int
    written: int
    dropped: int
    """Queue full, record too large, or the back end failed for good; each is also logged."""
    pending: int


class TrafficWriter(Protocol):
    """One per server. Thread-safe."""

    def append(self, trace: Trace) -> bool:
        """Queues a trace and returns at once, whatever the back end does. False: dropped, and counted as such."""

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued so far is durable; False after `timeout` seconds."""

    def counters(self) -> LogCounters: ...

    def close(self, timeout: float = 5.0) -> None:
        """Flushes and stops the writer."""


class LoggedTrace(msgspec.Struct, frozen=True):
    """A trace and where it stands."""

    offset: int
    trace: Trace


class TrafficReader(Protocol):
    """Any number, each keeping its own offset (the trainer: inside its own checkpoint)."""

    def read(self, after: int, limit: int) -> list[LoggedTrace]:
        """Up to `limit` traces with offset > `after`, in order. Offsets grow; gaps are legal (retention, purge).

        Undecodable and expired records are skipped and counted.
        """

    def end(self) -> int:
        """The greatest offset written so far; 0 for an empty log."""

    def num_skipped(self) -> int: ...

    def export(self, tenant: str) -> list[Trace]:
        """Everything held of one tenant."""

    def purge(self, tenant: str) -> int:
        """Deletes everything held of one tenant; returns how many traces went."""

    def close(self) -> None: ...


def open_writer(url: str, *, max_queue: int = 4096, max_bytes: int = 1 << 30, max_age: float = 30 * 86400.0) -> TrafficWriter:
    """A writer for `url`. `max_bytes` and `max_age` (seconds) bound what the log keeps.

    Raises BadUrl for a scheme without a back end.
    """
    from pipelines.sqlite_log import SqliteWriter

    return SqliteWriter(sqlite_path(url, "traffic"), max_queue=max_queue, max_bytes=max_bytes, max_age=max_age)


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
    if parts.scheme != "sqlite" or parts.netloc or not path:
        raise BadUrl(f"{setting}: {url!r} is not a URL of a known back end; expected sqlite:///path/to/file.db")
    return path
