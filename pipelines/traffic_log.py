"""The traffic log: what serving appends to and the trainer reads from.

`open_writer(url)` and `open_reader(url)` choose the back end by URL (`sqlite:///path/traffic.db`,
`kafka://host:port/topic`). Every back end passes `tests/pipelines/contract_traffic_log.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
    spooled: int = 0
    """Of those written: durable here, and on the way to where readers find them."""
    lost: int = 0
    """Of those written: they will never get there (too old or too many for the spool, or too large for the broker)."""


class TrafficWriter(Protocol):
    """One per server. Thread-safe. No method raises, whatever the back end does."""

    def append(self, trace: Trace) -> bool:
        """Queues a trace and returns at once. False: dropped, and counted as such."""

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued so far is durable; False after `timeout` seconds."""

    def counters(self) -> LogCounters: ...

    def close(self, timeout: float = 5.0) -> None:
        """Flushes and stops the writer; what is not durable after `timeout` seconds is dropped."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a trace stands. Offsets of a partition begin at 1 and grow, with gaps, and are never used again."""

    offset: int
    partition: int = 0
    """A back end without partitions has the one."""


Position = dict[int, int]
"""How far a log is read, or goes: the last offset of each partition. One that is missing has not been begun."""


def advance(position: Position, place: Place) -> None:
    """The trace at `place` was read next. Where it stands before the position, the log was made anew: reading goes on there."""
    position[place.partition] = place.offset


def covers(position: Position, place: Place) -> bool:
    """Whether the trace at `place` is read."""
    return place.offset <= position.get(place.partition, 0)


def distance(position: Position, end: Position) -> int:
    """Offsets from a position to the end of the log."""
    return sum(max(0, last - position.get(partition, 0)) for partition, last in end.items())


class LoggedTrace(msgspec.Struct, frozen=True):
    """A trace and where it stands."""

    place: Place
    trace: Trace


class TrafficReader(Protocol):
    """Any number, each keeping its own position (the trainer: inside its own checkpoint).

    A log that nobody has written to yet is empty. All methods but `num_skipped`, `settled` and `close` raise
    LogUnavailable.
    """

    def read(self, after: Position, limit: int) -> list[LoggedTrace]:
        """Up to `limit` traces that `after` does not cover, in order within each partition; fewer only at the end of the log.

        Undecodable and expired records are skipped and counted.
        """

    def end(self) -> Position:
        """The greatest offset written so far of each partition; empty for an empty log. What is left may end before it."""

    def gone(self, traces: Sequence[LoggedTrace]) -> frozenset[Place]:
        """Places of those of `traces`, read before, that the log holds no more: expired, purged, past its retention."""

    def settled(self, position: Position) -> None:
        """Everything up to `position` is used and saved: for tools that watch how far readers lag. It changes no reading."""

    def num_skipped(self) -> int:
        """Records skipped so far; one that is met again is not counted again."""

    def export(self, tenant: str) -> list[Trace]:
        """Everything held of one tenant, what has expired but is not deleted yet included."""

    def purge(self, tenant: str) -> int:
        """Deletes everything held of one tenant for good; returns how many traces went.

        What a writer has still in its queue is not held yet: flush it first.
        """

    def close(self) -> None: ...


def open_writer(
    url: str, *, spool: Path | None = None, max_queue: int = 4096, max_bytes: int = 1 << 30, max_age: float = 30 * 86400.0
) -> TrafficWriter:
    """A writer for `url`. Raises BadUrl for a scheme without a back end, and for a URL that its back end does not understand.

    spool: folder in which traces wait for a broker; needed where there is one. max_queue: traces that may wait for the disk.
    max_bytes, max_age (seconds): what the log keeps, or where there is a broker the spool.
    """
    if is_kafka(url):
        from pipelines.kafka_log import KafkaAddress, KafkaWriter

        address = KafkaAddress.parse(url)
        if spool is None:
            raise BadUrl("traffic.spool is missing, expected a folder since traffic names a broker")
        return KafkaWriter(address, spool, max_queue=max_queue, max_bytes=max_bytes, max_age=max_age)
    from pipelines.sqlite_log import SqliteWriter

    path = sqlite_path(url, "traffic")
    return SqliteWriter(path, max_queue=max_queue, max_bytes=max_bytes, max_age=max_age)


def open_reader(url: str) -> TrafficReader:
    """A reader for `url`. Raises BadUrl as `open_writer` does."""
    if is_kafka(url):
        from pipelines.kafka_log import KafkaAddress, KafkaReader

        return KafkaReader(KafkaAddress.parse(url))
    from pipelines.sqlite_log import SqliteReader

    return SqliteReader(sqlite_path(url, "traffic"))


def is_kafka(url: str) -> bool:
    """Whether the log is on Kafka. Whoever never says so never imports kafka-python."""
    return url.startswith("kafka:")


def without_secrets(url: str) -> str:
    """The URL less what may be a password: user, parameters."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def sqlite_path(url: str, setting: str) -> str:
    """The file of a `sqlite:///` URL (three slashes: relative, four: absolute).

    Raises BadUrl, naming the setting, for any other URL.
    """
    parts = urlsplit(url)
    path = parts.path[1:]
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not path:
        raise BadUrl(f"{setting}: {url!r} names no known back end; expected sqlite:///path/to/file.db")
    return path
