"""Gaps between the ends of steps: what a client waits between tokens."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Step:
    ended_at: float
    """Seconds."""
    reads_prompt: bool
    """Whether some request's prompt was read in it: such a step is longer, swap or no swap."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Seconds."""

    longest: float
    median: float


def gaps_between(steps: Sequence[Step], start: float, stop: float) -> Gaps | None:
    """Of the steps from `start` to `stop`, those that read a prompt left out; None if there are none."""
    within = [step for step in steps if start <= step.ended_at <= stop]
    gaps = [after.ended_at - before.ended_at for before, after in pairwise(within) if not after.reads_prompt]
    return Gaps(max(gaps), statistics.median(gaps)) if gaps else None
