"""History: what happened in the last hour, as differences of counters, so that a page opened now shows what was."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from itertools import takewhile
from typing import TypeVar

import msgspec

from serving.dashboard.reading import Pair, Reading

SAMPLE_SECONDS = 2.0
KEPT_SECONDS = 3600.0
_KEPT_SWAPS = 500
_DEEPEST = 12
"""Positions of a draft that are shown."""

K = TypeVar("K", bound=Hashable)


class SourceSample(msgspec.Struct, frozen=True, array_like=True):
    """What one version of one source had in drafts."""

    source: str
    version: str
    drafted: int
    accepted: int


class ShadowSample(msgspec.Struct, frozen=True, array_like=True):
    """What a source would have had accepted on the text that was emitted, whoever drafted."""

    source: str
    steps: int
    tokens: int


class ServedSample(msgspec.Struct, frozen=True, array_like=True):
    """What requests of one kind were served: `speculated` for, or a `probe`, decoded plainly to compare with."""

    how: str
    tokens: int
    seconds: float


class SsdSample(msgspec.Struct, frozen=True, array_like=True):
    """Rounds of a draft worker that foresaw the outcome and that did not, and their tokens; seconds; what went wrong."""

    hits: int
    hit_tokens: int
    misses: int
    miss_tokens: int
    waited: float
    built: float
    idle: float
    late: int
    failures: int


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was counted between `at - seconds` and `at`; see `Reading`. Ratios are left to whoever adds samples up."""

    at: float
    """Unix seconds."""
    seconds: float
    tokens: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted: int = 0
    positions: tuple[int, ...] = ()
    sources: tuple[SourceSample, ...] = ()
    steps: int = 0
    step_tokens: int = 0
    shadow: tuple[ShadowSample, ...] = ()
    served: tuple[ServedSample, ...] = ()
    """Nothing where there are no probes."""
    ssd: SsdSample | None = None
    """None where there is no draft worker."""
    running: int = 0
    waiting: int = 0


class SwapMark(msgspec.Struct, frozen=True, kw_only=True):
    """The engine put other weights in service."""

    at: float
    generation: int
    version: str
    """Of the sources that changed; the first, by name, of several."""


class History:
    """At most an hour of samples, about 1 KB each: 2 MB however long the server runs.

    `at` always grows, so that nobody who asks for what is newer misses a sample when the clock is set back.
    """

    def __init__(self, seconds: float = KEPT_SECONDS, every: float = SAMPLE_SECONDS) -> None:
        self._samples: deque[Sample] = deque(maxlen=max(1, round(seconds / every)))
        self._swaps: deque[SwapMark] = deque(maxlen=_KEPT_SWAPS)
        self._seconds = seconds
        self._last: Reading | None = None

    def take(self, reading: Reading) -> None:
        """Adds what was counted since the reading before; the first is only what later ones are compared with."""
        before, self._last = self._last, reading
        if before is None:
            return
        newest = self._samples[-1].at if self._samples else before.at
        sample = between(before, reading, at=max(reading.at, newest + 0.001))
        self._samples.append(sample)
        if reading.num_swaps > before.num_swaps:
            self._swaps.append(_swap(before, reading, sample))
        while self._samples[0].at < sample.at - self._seconds:
            self._samples.popleft()
        while self._swaps and self._swaps[0].at < sample.at - self._seconds:
            self._swaps.popleft()

    def since(self, after: float) -> list[Sample]:
        """Samples newer than `after` (Unix seconds), oldest first."""
        return list(reversed([*takewhile(lambda sample: sample.at > after, reversed(self._samples))]))

    def swaps(self, after: float) -> list[SwapMark]:
        """Swaps newer than `after`, oldest first."""
        return [swap for swap in self._swaps if swap.at > after]


def between(before: Reading, after: Reading, at: float) -> Sample:
    """What was counted from one reading to the next."""
    depth = min(_DEEPEST, max(after.positions, default=-1) + 1)
    positions = [round(_grown(before.positions.get(place, 0), after.positions.get(place, 0))) for place in range(depth)]
    while positions and not positions[-1]:
        positions.pop()
    return Sample(
        at=math.floor(at * 1000) / 1000,  # never later than it was: it is asked for by this time
        seconds=round(max(0.001, after.at - before.at), 3),
        tokens=round(_grown(before.tokens, after.tokens)),
        drafts=round(_grown(before.drafts, after.drafts)),
        draft_tokens=round(_grown(before.draft_tokens, after.draft_tokens)),
        accepted=round(_grown(before.accepted, after.accepted)),
        positions=tuple(positions),
        sources=tuple(
            SourceSample(source, version, round(drafted), round(accepted))
            for (source, version), (drafted, accepted) in _pairs(before.sources, after.sources)
        ),
        steps=round(_grown(before.steps, after.steps)),
        step_tokens=round(_grown(before.step_tokens, after.step_tokens)),
        shadow=tuple(
            ShadowSample(source, round(steps), round(tokens)) for source, (steps, tokens) in _pairs(before.shadow, after.shadow)
        ),
        served=_served(before, after),
        ssd=_ssd(before, after),
        running=after.running,
        waiting=after.waiting,
    )


def _served(before: Reading, after: Reading) -> tuple[ServedSample, ...]:
    if "probe" not in after.served:
        return ()
    return tuple(
        ServedSample(how, round(tokens), round(seconds, 4))
        for how, (tokens, seconds) in _pairs(before.served, after.served)
    )


def _ssd(before: Reading, after: Reading) -> SsdSample | None:
    if not after.ssd:
        return None

    def outcome(name: str) -> tuple[int, int]:
        (rounds, tokens), (old_rounds, old_tokens) = after.ssd.get(name, (0.0, 0.0)), before.ssd.get(name, (0.0, 0.0))
        return round(_grown(old_rounds, rounds)), round(_grown(old_tokens, tokens))

    return SsdSample(
        *outcome("hit"),
        *outcome("miss"),
        round(_grown(before.ssd_wait, after.ssd_wait), 4),
        round(_grown(before.ssd_build, after.ssd_build), 4),
        round(_grown(before.ssd_idle, after.ssd_idle), 4),
        round(_grown(before.ssd_late, after.ssd_late)),
        round(_grown(before.ssd_failures, after.ssd_failures)),
    )


def _pairs(before: Mapping[K, Pair], after: Mapping[K, Pair]) -> Iterator[tuple[K, Pair]]:
    """How both figures grew, where the first of them did."""
    for key, (first, second) in after.items():
        old_first, old_second = before.get(key, (0.0, 0.0))
        grown = _grown(old_first, first), _grown(old_second, second)
        if grown[0]:
            yield key, grown


def _grown(before: float, after: float) -> float:
    """A counter that is smaller than it was has begun anew."""
    return after - before if after >= before else after


def _swap(before: Reading, after: Reading, sample: Sample) -> SwapMark:
    changed = sorted(set(after.versions.items()) - set(before.versions.items()))
    seen = before.at < after.last_swap_at <= after.at
    return SwapMark(
        at=round(after.last_swap_at, 3) if seen else sample.at,
        generation=after.generation,
        version=changed[0][1] if changed else "",
    )
