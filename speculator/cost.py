"""What steps cost, in measured seconds: the pass by number of sequences and of rows, drafting by arm."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from speculator.arms import Arm

ROWS = (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 17, 20, 24, 32, 33, 40, 48, 49, 64, 65, 96, 128, 192, 256)
"""Of a pass. Products on matrix tiles get dearer by steps: the seventeenth row costs as much as the eight before it together."""
_SEQUENCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Numbers of sequences of which each has a table of its own."""
_LEVEL_RATE = 0.1
_SHAPE_RATE = 0.02
_TRUSTED = 50
"""Measurements of a size after which half of what is off is put down to the level."""
_PROFILE_WEIGHT = 2
"""A profile counts as this many measurements: taken while the machine was busy with something else, it is soon corrected."""
_MAX_RATIO = 2.0
"""A measurement further off than this is taken for a hiccup of the machine, and cut."""
_ANCHOR = 0.25
"""Weight of the newest plain step in the level, once there were a few."""
_REFRESH = 16
_CROWD, _REPEATS = 16, 5
"""Sequences of the pass that tells what a sequence costs, and how often it is measured."""


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
        self._num_measured = self._num_plain = 0

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return self._level > 0.0

    @property
    def level(self) -> float:
        """What everything takes, in multiples of the profile."""
        return self._level

    def profile(self, measure: Callable[[int], float], repeats: int = 5, level: float = 1.0) -> None:
        """Sets the table from `measure(size)`, seconds; the best of `repeats` rounds over all sizes."""
        rounds = [[measure(size) for size in self._sizes] for _ in range(repeats)]
        self._shape = [min(seconds) for seconds in zip(*rounds, strict=True)]
        self._level = level
        self._curve = []

    def anchor(self, size: int, seconds: float) -> None:
        """Takes in a measurement of plain decoding, which every gain is relative to: all that is off is the level's. A profile is
        of passes alone, which in a crowd are half of a step; and what drafted steps cost beyond it, in texts that got longer
        meanwhile, lifts the level with them."""
        self._num_plain += 1
        if self._level:
            ratio = seconds / (self._level * self._interpolate(size))
            rate = max(1 / self._num_plain, _ANCHOR)
            self._level *= 1 + rate * (min(max(ratio, 1 / _MAX_RATIO), _MAX_RATIO) - 1)

    def measured(self, size: int, seconds: float) -> None:
        """Takes in one measurement."""
        if self._level == 0.0:
            self._level = seconds / self._interpolate(size)
        ratio = min(max(seconds / (self._level * self._interpolate(size)), 1 / _MAX_RATIO), _MAX_RATIO)
        at = min(bisect_left(self._sizes, size), len(self._sizes) - 1)
        # where little is known, what is off is the shape; else the price of plain decoding would rise whenever drafts cost more
        # than the profile says, and they would look cheap
        trust = self._weight[at] / (self._weight[at] + _TRUSTED)
        self._level *= 1 + _LEVEL_RATE * trust * (ratio - 1)
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

    def slice(self, start: int, num: int) -> tuple[float, ...]:
        """seconds(size) for `num` sizes from `start` on."""
        curve, level = self._curve or self._draw(), self._level
        if start + num <= len(curve):
            return tuple([level * value for value in curve[start : start + num]])
        return tuple([self.seconds(size) for size in range(start, start + num)])

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
    """The prices of a server.

    A pass costs by its rows, and more for rows of many sequences than for as many of one: each reads keys and values of its own.
    So there is a table for each of some numbers of sequences (others go to the next below), which starts from a
    profile and is kept current by what steps took.
    """

    def __init__(self) -> None:
        self._profile = CostTable()
        self._per_sequence = 0.0
        self._passes: dict[int, CostTable] = {}
        self._drafting: dict[Arm, CostTable] = {}

    def profile(self, measure: Callable[[int, int], float]) -> None:
        """Asks `measure(num_sequences, num_rows)` for the seconds of passes: of one sequence, and of sixteen with a row each."""
        self._profile.profile(lambda rows: measure(1, rows))
        apart = min(measure(_CROWD, _CROWD) for _ in range(_REPEATS))
        self._per_sequence = max(0.0, apart - self._profile.seconds(_CROWD)) / (_CROWD - 1)
        self._passes = {}

    def measured(self, num_sequences: int, num_drafted: int, seconds: float) -> None:
        """Takes in what a step without prompt tokens took, drafting left out."""
        size, seconds = _size(num_sequences), seconds / self._scale(num_sequences, num_drafted)
        table = self._table(size)
        if num_drafted == 0:
            table.anchor(size, seconds)
        table.measured(size + num_drafted, seconds)

    def seconds(self, num_sequences: int, num_drafted: int = 0) -> float:
        """Expected seconds of a step without prompt tokens; 0 while nothing was measured."""
        size = _size(num_sequences)
        return self._table(size).seconds(size + num_drafted) * self._scale(num_sequences, num_drafted)

    def steps(self, num_sequences: int, num_prompt: int, most_drafted: int) -> tuple[float, ...]:
        """Expected seconds of a step with 0, 1, … `most_drafted` nodes.

        What the prompt tokens cost is left out, for they are to be read in any case; but nodes beside them cost what rows cost
        there, where the pass is large.
        """
        if num_prompt == 0:
            size, scale = _size(num_sequences), self._scale(num_sequences, 0)
            return tuple([scale * seconds for seconds in self._table(size).slice(size, most_drafted + 1)])
        plain, start = self.seconds(num_sequences), num_sequences + num_prompt
        pace = plain / (self._model(num_sequences, num_sequences) or 1.0)
        beside = self._profile.slice(start, most_drafted + 1)
        return tuple([plain + pace * (seconds - beside[0]) for seconds in beside])

    def each(self, num_sequences: int, most_drafted: int) -> tuple[float, ...]:
        """A sequence's share of the expected seconds of a step in which each of them has 0, 1, … `most_drafted` nodes."""
        size, scale = _size(num_sequences), self._scale(num_sequences, 0) / num_sequences
        table = self._table(size)
        return tuple([scale * table.seconds(size + num_sequences * nodes) for nodes in range(most_drafted + 1)])

    def drafted(self, arm: Arm, num_sequences: int, seconds: float) -> None:
        """Takes in what it took to draft with an arm."""
        table = self._drafting.get(arm)
        if table is None:
            table = self._drafting[arm] = CostTable((1, 2, 4, 8, 16, 32, 64))
        table.measured(num_sequences, seconds)

    def drafting(self, arm: Arm, num_sequences: int) -> float:
        """Expected seconds for an arm to propose: where it never did, for its sources one by one; 0 for those that never did."""
        table = self._drafting.get(arm)
        if table is None and len(arm) > 1:
            return sum(self.drafting(frozenset({source}), num_sequences) for source in arm)
        return table.seconds(num_sequences) if table else 0.0

    def _table(self, size: int) -> CostTable:
        table = self._passes.get(size)
        if table is None:
            # as much slower than the profile as the next one that is known
            near = min(self._passes, key=lambda other: abs(other - size), default=None)
            level = 1.0 if near is None else self._passes[near].level
            table = self._passes[size] = CostTable()
            if self._profile.known:
                table.profile(lambda rows: self._model(size, max(rows, size)), repeats=1, level=level)
        return table

    def _scale(self, num_sequences: int, num_drafted: int) -> float:
        """What more sequences than the table is for cost, relatively."""
        size = _size(num_sequences)
        if size == num_sequences or not self._profile.known:
            return 1.0
        return self._model(num_sequences, num_sequences + num_drafted) / self._model(size, size + num_drafted)

    def _model(self, num_sequences: int, num_rows: int) -> float:
        """By the profile."""
        return self._profile.seconds(num_rows) + (num_sequences - 1) * self._per_sequence


def _size(num_sequences: int) -> int:
    """The number of sequences whose table is used."""
    return _SEQUENCES[bisect_right(_SEQUENCES, num_sequences) - 1]
