"""Sizing: how much work fits one slice, learnt from what slices took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRAIN = 32
"""Rows of work come in multiples of this. Matrix products are compiled for each new shape, which takes longer than they do:
reading 80 traces of all lengths takes 2.9 s in bfloat16 on one CPU thread, padded to multiples of 32 it takes 1.2 s."""
_MARGIN = 0.6
"""Of the limit that is aimed at: the time of one and the same slice varies by half on a machine that is shared."""


def padded(num_rows: int) -> int:
    """The multiple of GRAIN that holds so many rows."""
    return -(-num_rows // GRAIN) * GRAIN


class Sizing:
    """limit: seconds of one thread that a slice may take. clock: seconds of this thread's processor time, so that
    being descheduled does not count."""

    def __init__(self, limit: float, *, first: int = GRAIN, clock: Callable[[], float] = time.thread_time) -> None:
        self._limit = limit
        self._rows = float(first)
        self._clock = clock

    @property
    def rows(self) -> int:
        """Of work, for the next slice: a multiple of GRAIN, and at least that."""
        return max(1, int(self._rows) // GRAIN) * GRAIN

    @contextmanager
    def slice(self, num_rows: int) -> Iterator[None]:
        """Around the work of one slice of so many rows."""
        started = self._clock()
        yield
        fitting = num_rows * _MARGIN * self._limit / max(self._clock() - started, 1e-6)
        # shrinks by halves and grows by quarters: one slice proves little
        self._rows = max(float(GRAIN), min(max(fitting, self._rows / 2), 1.25 * self._rows))
