"""The worst window of consecutive requests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from bench.ratios import Rate


def worst_window(ours: Sequence[Rate], theirs: Sequence[Rate], size: int) -> range:
    """The `size` consecutive answers (all, if there are fewer) over which our amount per cost over theirs is least."""
    size = min(size, len(ours))
    columns: list[Sequence[float]] = [*zip(*ours, strict=True), *zip(*theirs, strict=True)]
    sums = [list(accumulate(column, initial=0.0)) for column in columns]

    def ratio(start: int) -> float:
        amount, cost, their_amount, their_cost = (column[start + size] - column[start] for column in sums)
        return amount * their_cost / (cost * their_amount)

    start = min(range(len(ours) - size + 1), key=ratio)
    return range(start, start + size)
