"""Sizing: how much work fits one slice, learnt from what slices took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MARGIN = 0.6
"""Of the limit that is aimed at: the time of one and the same slice varies by half on a machine that is shared."""


class Sizing:
    """limit: seconds of one thread that a slice may take. first: units of the first slice; at least `least` ever
    after. clock: seconds of this thread's processor time, so that being descheduled does not count."""

    def __init__(self, limit: float, first: int, least: int = 1, clock: Callable[[], float] = time.thread_time) -> None:
        self._limit = limit
        self._units = first
        self._least = least
        self._clock = clock

    @property
    def units(self) -> int:
        """Of work, for the next slice."""
        return self._units

    @contextmanager
    def slice(self, units: int) -> Iterator[None]:
        """Around the work of one slice of `units`."""
        started = self._clock()
        yield
        fitting = units * _MARGIN * self._limit / max(self._clock() - started, 1e-6)
        # shrinks at once, grows by steps: one fast slice proves little
        self._units = max(self._least, int(min(fitting, 1.25 * self._units + 1)))
