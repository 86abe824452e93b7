"""Study: reading traces and learning from them, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.mixture import Mixture
from trainer.teacher import LessonCache
from trainer.trade import Trade

_SEEN = 64
"""Rows of a new lesson from which the common tokens are learnt."""


class Study:
    """One step: reads one trace not read yet, the newest first, and then learns from those read.

    Reading costs about as much as a step and the first few dozen traces teach most (see `trainer.distil`), so
    learning does not wait until all are read.
    """

    def __init__(
        self,
        trade: Trade,
        lessons: LessonCache,
        mixture: Mixture,
        wants: Callable[[Kept], bool] = lambda trace: True,
    ) -> None:
        """wants: which traces are studied just now."""
        self._wants = wants
        self._draws = Draws(mixture, lambda trace: wants(trace) and lessons.knows(trace))
        self._trade = trade
        self._lessons = lessons
        self._mixture = mixture

    def step(self) -> Iterator[int]:
        """Work in slices: yields after each, with the rows it taught. To be called when there are traces only that are wanted."""
        unread = self._mixture.newest(lambda trace: self._wants(trace) and not self._lessons.knows(trace))
        if unread is not None:
            yield from self._read(unread)
        distiller = self._trade.distiller
        while not distiller.ready:
            yield self._trade.teach(self._draws)
        distiller.step()
        yield 0

    def _read(self, trace: Kept) -> Iterator[int]:
        reading = self._lessons.read(trace)
        while True:
            try:
                next(reading)
            except StopIteration as done:
                lesson: Lesson = done.value
                break
            yield 0
        self._trade.distiller.shortlist.see(sample_rows(lesson))
        yield 0


class Draws:
    """wanted: which traces are studied just now."""

    def __init__(self, mixture: Mixture, wanted: Callable[[Kept], bool]) -> None:
        self._mixture = mixture
        self._wanted = wanted
        self._back: Kept | None = None

    def __call__(self, count: int) -> list[Kept]:
        back, self._back = self._back, None
        first = [back] if back is not None and self._wanted(back) else []
        traces = first + self._mixture.sample(count - len(first), self._wanted)
        assert traces, "there is nothing to study"
        return traces

    def put_back(self, trace: Kept) -> None:
        self._back = trace


def sample_rows(lesson: Lesson) -> Tensor:
    """Rows from which the common tokens are learnt, evenly over the lesson."""
    return lesson.hidden[:: -(-len(lesson) // _SEEN)]
