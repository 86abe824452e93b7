"""Feed: takes new traces from the traffic log and sorts them into what is studied and what is held out.

The position up to which the log is read lives in `FeedState`, which is saved with everything that was learnt from
the traces before it: after a crash the same traces come again, to a trainer that has not seen them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipelines.registry import Slot
from pipelines.trace import Trace
from pipelines.traffic_log import Position, TrafficReader, advance, distance
from trainer.kept import Kept, held_out

MIN_OUTPUT = 2
"""Shorter answers hold nothing to learn: the first token comes of the prompt's pass."""
MAX_IDS = 65536
"""Ids of traces remembered, against duplicates: 36 bytes each."""


class FeedState(msgspec.Struct):
    """How far the log is read, and what became of it. num_read == the sum of all other counts."""

    position: Position = {}
    recent_ids: dict[str, None] = {}
    """Ids of the traces last read, oldest first."""
    num_read: int = 0
    num_studied: int = 0
    num_held_out: int = 0
    num_duplicates: int = 0
    num_foreign: int = 0
    """Of another target or tokenizer."""
    num_withheld: int = 0
    """Consent given for another scope only."""
    num_lossy: int = 0
    """Of which the text is not the target's own."""
    num_short: int = 0
    """Or too long for the target's context."""


class Intake(msgspec.Struct, frozen=True):
    """New traces of one reading."""

    studied: list[Kept]
    held_out: list[Kept]
    num_read: int
    acceptance_lengths: list[float]
    """Of those that were served in steps."""


class Feed:
    """Reads the log for one slot.

    max_tokens: the target's context. fraction: of the conversations, held out by a hash keyed with `key`.
    """

    def __init__(
        self,
        reader: TrafficReader,
        slot: Slot,
        tokenizer: str,
        *,
        max_tokens: int,
        fraction: float,
        key: bytes,
        state: FeedState,
    ) -> None:
        self.state = state
        self._reader = reader
        self._slot = slot
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._fraction = fraction
        self._key = key

    def read(self, limit: int = 64) -> Intake:
        """Up to `limit` new traces. Raises LogUnavailable, nothing having changed."""
        state = self.state
        studied: list[Kept] = []
        held: list[Kept] = []
        lengths: list[float] = []
        logged = self._reader.read(state.position, limit)
        for each in logged:
            advance(state.position, each.place)
            state.num_read += 1
            if self._usable(each.trace):
                kept = Kept.of(state.num_read, each.trace, each.place)
                (held if held_out(kept, self._key, self._fraction) else studied).append(kept)
                lengths += [length for length in (each.trace.mean_acceptance_length,) if length is not None]
        state.num_studied += len(studied)
        state.num_held_out += len(held)
        return Intake(studied, held, len(logged), lengths)

    def lag(self) -> int:
        """Offsets between what was read and the end of the log. Raises LogUnavailable."""
        return distance(self.state.position, self._reader.end())

    def gone(self, traces: Sequence[Kept]) -> frozenset[int]:
        """Numbers of those that the log holds no more: expired, purged, past its retention. Raises LogUnavailable."""
        places = self._reader.gone([each.logged for each in traces])
        return frozenset(each.number for each in traces if each.place in places)

    def saved(self) -> None:
        """What was read so far is in the trainer's own checkpoint."""
        self._reader.settled(self.state.position)

    def _usable(self, trace: Trace) -> bool:
        state = self.state
        if trace.trace_id in state.recent_ids:
            state.num_duplicates += 1
        elif (trace.target, trace.tokenizer) != (self._slot.target, self._tokenizer):
            state.num_foreign += 1
        elif not self._consents(trace):
            state.num_withheld += 1
        elif trace.sampling.lossy is not None:
            state.num_lossy += 1
        elif not self._fits(trace):
            state.num_short += 1
        else:
            self._remember(trace.trace_id)
            return True
        return False

    def _consents(self, trace: Trace) -> bool:
        """Everyone's heads learn from shared traffic alone, a tenant's from that tenant's."""
        return trace.consent == "shared" if self._slot.scope == "all" else trace.tenant == self._slot.scope

    def _fits(self, trace: Trace) -> bool:
        length = len(trace.prompt_ids) + len(trace.output_ids)
        return bool(trace.prompt_ids) and len(trace.output_ids) >= MIN_OUTPUT and length <= self._max_tokens

    def _remember(self, trace_id: str) -> None:
        ids = self.state.recent_ids
        ids[trace_id] = None
        if len(ids) > MAX_IDS:
            del ids[next(iter(ids))]
