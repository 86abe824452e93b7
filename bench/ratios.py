"""Ratios with their spread, from interleaved pairs: both sides of a pair ran within moments of each other."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of paired ratios, with the extremes and a 95 % bootstrap interval of the median."""

    median: float
    low: float
    high: float
    lower: float
    upper: float
    num_pairs: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lower:.2f} to {self.upper:.2f}; extremes {self.low:.2f}, {self.high:.2f}; {self.num_pairs} pairs)"


def ratio_of(numerators: Sequence[float], denominators: Sequence[float], seed: int = 0) -> Ratio:
    """numerators[i] and denominators[i] were measured as a pair."""
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return Ratio(
        statistics.median(ratios), min(ratios), max(ratios), medians[49], medians[1949], len(ratios)
    )
