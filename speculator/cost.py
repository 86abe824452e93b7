"""What steps cost, in measured seconds: the target's pass by number of rows, drafting by source and number of
sequences."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_LEVEL_RATE = 0.1
_SHAPE_RATE = 0.02
_PROFILE_WEIGHT = 2
"""A profile counts as this many measurements: taken while the machine was busy with something else, it is soon corrected."""
_MAX_RATIO = 2.0
"""A measurement further off than this is taken for a hiccup of the machine, and cut."""
_REFRESH = 16


class CostTable:
    """Seconds by size, known at a few sizes and interpolated, never falling with size.

    It is a level times a shape: everything on a busy machine slows down together, so every measurement moves
    the level at once, and only what differs between sizes moves the shape, slowly.
    """

    def __init__(self, sizes: Sequence[int] = ROWS) -> None:
        assert list(sizes) == sorted(set(sizes))
        self._sizes = tuple(sizes)
        # before anything is measured: a pass over 64 rows costs twice a pass over none
        self._shape = [1.0 + size / 64 for size in self._sizes]
        self._weight = [_PROFILE_WEIGHT] * len(self._sizes)
        self._level = 0.0
        self._curve: list[float] = []
        self._num_measured = 0

    def profile(self, measure: Callable[[int], float], repeats: int = 5) -> None:
        """Sets the table from `measure(size)`, seconds; the best of `repeats` rounds over all sizes."""
        rounds = [[measure(size) for size in self._sizes] for _ in range(repeats)]
        self._shape = [min(seconds) for seconds in zip(*rounds, strict=True)]
        self._level = 1.0
        self._curve = []

    def measured(self, size: int, seconds: float) -> None:
        """Takes in one measurement."""
        if self._level == 0.0:
            self._level = seconds / self._interpolate(size)
        ratio = min(max(seconds / (self._level * self._interpolate(size)), 1 / _MAX_RATIO), _MAX_RATIO)
        self._level *= 1 + _LEVEL_RATE * (ratio - 1)
        at = min(bisect_left(self._sizes, size), len(self._sizes) - 1)
        rate = max(_SHAPE_RATE, 1 / (self._weight[at] + 1))
        for other, weight in enumerate(self._weight):
            if other == at or weight < self._weight[at]:
                # what is wrong here is wrong nearby, where less is known
                self._shape[other] *= 1 + rate * 0.5 ** abs(other - at) * (ratio - 1)
        self._weight[at] += 1
        self._num_measured += 1
        if self._num_measured % _REFRESH == 0:
            self._curve = []

    def seconds(self, size: int) -> float:
        """Expected seconds; 0 while nothing was measured."""
        curve = self._curve or self._draw()
        if size < len(curve):
            return self._level * curve[size]
        return self._level * (curve[-1] + (size - len(curve) + 1) * (curve[-1] - curve[-2]))

    def slice(self, start: int, num: int, offset: float = 0.0) -> tuple[float, ...]:
        """offset + seconds(size) for `num` sizes from `start` on."""
        curve, level = self._curve or self._draw(), self._level
        if start + num <= len(curve):
            return tuple([offset + level * value for value in curve[start : start + num]])
        return tuple([offset + self.seconds(size) for size in range(start, start + num)])

    def _draw(self) -> list[float]:
        shape = rising(self._shape, self._weight)
        self._curve = [self._interpolate(size, shape) for size in range(self._sizes[-1] + 1)]
        return self._curve

    def _interpolate(self, size: int, shape: list[float] | None = None) -> float:
        sizes, shape = self._sizes, shape or self._shape
        above = min(max(bisect_left(sizes, size), 1), len(sizes) - 1)
        part = (size - sizes[above - 1]) / (sizes[above] - sizes[above - 1])
        return shape[above - 1] + max(part, 0.0) * (shape[above] - shape[above - 1])


def rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest values, by weighted squares, that never fall (isotonic regression: pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values, weights, strict=True):
        pool = (value, float(weight), 1)
        while pools and pools[-1][0] > pool[0]:
            mean, heavy, number = pools.pop()
            total = heavy + pool[1]
            pool = ((mean * heavy + pool[0] * pool[1]) / total, total, number + pool[2])
        pools.append(pool)
    return [mean for mean, _, number in pools for _ in range(number)]


class StepCosts:
    """The tables of a server. `target`: by rows of the pass, everything but drafting included."""

    def __init__(self) -> None:
        self.target = CostTable()
        self._drafting: dict[str, CostTable] = {}

    def drafted(self, source: str, num_sequences: int, seconds: float) -> None:
        """Takes in what a source's proposal took."""
        table = self._drafting.get(source)
        if table is None:
            table = self._drafting[source] = CostTable((1, 2, 4, 8, 16, 32, 64))
        table.measured(num_sequences, seconds)

    def drafting(self, sources: Iterable[str], num_sequences: int) -> float:
        """Expected seconds for these sources to propose."""
        return sum(table.seconds(num_sequences) for name in sources if (table := self._drafting.get(name)))
