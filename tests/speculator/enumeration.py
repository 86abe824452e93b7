"""Enumeration: everything that can be drawn is drawn, each outcome weighed by its probability."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from speculator.batch import Sampling
from speculator.belief import Belief
from speculator.law import Chooser, process
from speculator.processor import Processor

_T = TypeVar("_T")


class Fate:
    """Decides what is drawn in one run: first what is written, then always the first that is possible; and says what else was."""

    def __init__(self, written: Sequence[int] = ()) -> None:
        self._written = list(written)
        self.path: list[int] = []
        self.open: list[list[int]] = []
        """By draw, the possible outcomes not taken yet."""
        self.weight = 1.0

    def pick(self, probs: Sequence[float]) -> int:
        """An index, of these probabilities."""
        possible = [at for at, prob in enumerate(probs) if prob > 0.0]
        at = len(self.path)
        chosen = self._written[at] if at < len(self._written) else possible[0]
        self.path.append(chosen)
        self.open.append([each for each in possible if each > chosen])
        self.weight *= probs[chosen]
        return chosen


def law_of(run: Callable[[Fate], _T]) -> dict[_T, float]:
    """The law of what `run` returns: it is run once for each way that its draws can fall."""
    law: dict[_T, float] = defaultdict(float)
    written: list[int] | None = []
    while written is not None:
        fate = Fate(written)
        law[run(fate)] += fate.weight
        written = _next(fate)
    return law


def _next(fate: Fate) -> list[int] | None:
    """The next way in order: the last draw that has an outcome left takes it."""
    for at in range(len(fate.path) - 1, -1, -1):
        if fate.open[at]:
            return [*fate.path[:at], fate.open[at][0]]
    return None


class FatefulChooser(Chooser):
    """The target's choices, drawn by fate."""

    def __init__(
        self, fate: Fate, logits: Tensor, sampling: Sequence[Sampling], processors: Sequence[Sequence[Processor]] = ()
    ) -> None:
        super().__init__(logits, sampling, processors)
        self._fate = fate

    def __call__(self, row: int, node: int, position: int) -> int:
        sampling = Sampling(temperature=1.0) if self._sampling[row].greedy else self._sampling[row]
        return self._fate.pick(process(self._scores(row, node), sampling).double().softmax(-1).tolist())

    def dice(self, row: int, position: int) -> _FatefulDice:
        return _FatefulDice(self._fate)


class _FatefulDice:
    def __init__(self, fate: Fate) -> None:
        self._fate = fate

    def accepts(self, number: int, chance: float) -> bool:
        return self._fate.pick([1.0 - chance, chance]) == 1

    def chooses(self, probs: NDArray[np.float64]) -> int:
        return self._fate.pick(probs.tolist())


def drawing(fate: Fate) -> Callable[..., list[int]]:
    """In place of `speculator.belief.draw`."""

    def draw(belief: Belief, count: int, choice: object = None) -> list[int]:
        tokens, probs = list(belief.tokens), list(belief.probs)
        drawn = []
        for _ in range(min(count, sum(prob > 0 for prob in probs))):
            total = sum(probs)
            at = fate.pick([prob / total for prob in probs])
            drawn.append(tokens.pop(at))
            probs.pop(at)
        return drawn

    return draw
