"""SparseView: the few positions of a long text that its own target drafts from, and when they should be chosen anew."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.pages import PageTable

_FIRST = 24
"""Guesses from which it is known how good a new view is."""
_RECENT = 1 / 16
"""Weight of the newest guess in the running mean."""
_FALLEN = 0.75
"""Share of the first acceptance below which the view has grown stale: of 24 guesses four in five of which are right, as few are
right by chance once in thirty times."""


@dataclass(slots=True)
class Acceptance:
    """How many of the guesses from a view are right: at first, and lately."""

    _num: int = 0
    _first: float = 0.0
    _lately: float = 0.0

    def saw(self, right: bool) -> None:
        """Takes in what became of one guess."""
        self._num += 1
        if self._num <= _FIRST:
            self._first += (right - self._first) / self._num
            self._lately = self._first
        else:
            self._lately += _RECENT * (right - self._lately)

    @property
    def fallen(self) -> bool:
        return self._lately < _FALLEN * self._first


@dataclass(slots=True, eq=False)
class SparseView:
    """Of a text. Positions, not slots: it outlives the pages that a text has to give up."""

    pages: PageTable
    picked: NDArray[np.int64]
    """Positions before `since`, in the order of the text."""
    since: int
    """From here on everything is looked at."""
    acceptance: Acceptance = field(default_factory=Acceptance)

    def seen(self, length: int) -> NDArray[np.int64]:
        """The slots of what is looked at among the first `length` positions, in the order of the text."""
        slots = self.pages.slots(0, length)
        return np.concatenate((slots[self.picked], slots[self.since :]))
