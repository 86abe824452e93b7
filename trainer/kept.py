"""Kept: a trace the trainer holds on to, and how it tells them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from pipelines.trace import Trace, encode_trace
from pipelines.traffic_log import LoggedTrace, Place


class Kept(msgspec.Struct, frozen=True):
    """A trace, where it stands in the traffic log, and its size. Step records are dropped: nothing here needs them."""

    number: int
    """Of all traces ever read for the slot, in that order: what the trainer tells them apart by."""
    place: Place
    num_bytes: int
    trace: Trace

    @classmethod
    def of(cls, number: int, trace: Trace, place: Place | None = None) -> Kept:
        """place: None: it comes of no log."""
        bare = msgspec.structs.replace(trace, steps=())
        return cls(number, place or Place(number), len(encode_trace(bare)), bare)

    @property
    def logged(self) -> LoggedTrace:
        return LoggedTrace(self.place, self.trace)

    @property
    def domain(self) -> str:
        return self.trace.domain or ""

    @property
    def num_rows(self) -> int:
        """Output tokens: rows of the lesson it makes."""
        return len(self.trace.output_ids)

    @property
    def conversation(self) -> str:
        """Names the conversation over all tenants."""
        return f"{len(self.trace.tenant)}:{self.trace.tenant}:{self.trace.conversation}"

    @property
    def tokens(self) -> tuple[int, ...]:
        """Prompt, then output."""
        return self.trace.prompt_ids + self.trace.output_ids


def held_out(trace: Kept, key: bytes, fraction: float) -> bool:
    """Whether a conversation is held out. Keyed, so that nobody outside can choose the side their traffic falls on."""
    digest = hashlib.blake2b(trace.conversation.encode(), digest_size=8, key=key).digest()
    return int.from_bytes(digest) < fraction * 2.0**64


def num_bytes(traces: Iterable[Kept]) -> int:
    return sum(each.num_bytes for each in traces)
