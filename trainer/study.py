"""Study: reading traces and learning from them, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trainer.distil import Distiller
from trainer.kept import Kept
from trainer.lessons import Lesson, Passage
from trainer.mixture import Mixture
from trainer.sizing import Sizing, padded
from trainer.teacher import LessonCache

RUN = 24
"""Longest run of neighbouring rows taken from one lesson at a time: rows of one answer resemble each other, and runs of 100
learnt no better from the same work. Neighbours share the target's distributions, so runs are cheaper than single rows."""
_SEEN = 64
"""Rows of a new lesson from which the common tokens are learnt."""


class Study:
    """One step: reads one trace not read yet, the newest first, and then learns from those read.

    Reading costs about as much as a step and the first few dozen traces teach most (see `trainer.distil`), so
    learning does not wait until all are read.
    """

    def __init__(
        self,
        distiller: Distiller,
        lessons: LessonCache,
        mixture: Mixture,
        sizing: Sizing,
        generator: torch.Generator,
        wants: Callable[[Kept], bool] = lambda trace: True,
    ) -> None:
        """wants: which traces are studied just now."""
        self._wants = wants
        self.distiller = distiller
        self._lessons = lessons
        self._mixture = mixture
        self._sizing = sizing
        self._generator = generator

    def step(self) -> Iterator[int]:
        """Work in slices: yields after each, with the rows it taught. To be called when there are traces only that are wanted."""
        unread = self._mixture.newest(lambda trace: self._wants(trace) and not self._lessons.knows(trace))
        if unread is not None:
            yield from self._read(unread)
        while not self.distiller.ready:
            passage = self._passage()
            with self._sizing.slice(len(passage)):
                self.distiller.teach(passage)
            yield len(passage)
        self.distiller.step()
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
        self.distiller.shortlist.see(sample_rows(lesson))
        yield 0

    def _passage(self) -> Passage:
        """Runs of rows from lessons known, exactly as many rows as fit a slice."""
        wanted = min(self._sizing.rows, padded(self.distiller.recipe.rows_per_step))
        runs: list[Tensor] = []
        missing = wanted
        while missing > 0:
            traces = self._mixture.sample(-(-missing // RUN), lambda trace: self._wants(trace) and self._lessons.knows(trace))
            assert traces, "there is nothing to study"
            for trace in traces:
                run = random_run(self._lessons.known(trace), self._generator)[:missing]
                runs += [run] if len(run) else []
                missing -= len(run)
        return Passage.of(runs)


def random_run(lesson: Lesson, generator: torch.Generator) -> Tensor:
    """Neighbouring rows of a lesson, at most RUN."""
    if len(lesson) <= RUN:
        return lesson.hidden
    start = int(torch.randint(len(lesson) - RUN + 1, (), generator=generator))
    return lesson.hidden[start : start + RUN]


def sample_rows(lesson: Lesson) -> Tensor:
    """Rows from which the common tokens are learnt, evenly over the lesson."""
    return lesson.hidden[:: -(-len(lesson) // _SEEN)]
