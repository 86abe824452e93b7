"""Learner: what is particular to one kind of weights at day zero; beginner: to one kind of speculator, which is judged too.

Answers, time and the checkpoint are the same for all (`trainer.dayzero`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from trainer.dayzero_settings import DayZeroSettings
from trainer.gate import Score
from trainer.in_training import InTraining, Pace
from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.taught import Taught
from trainer.teacher import LessonCache, ReplayTeacher

UNHURRIED = 60.0
"""Seconds a slice may take where nobody waits."""
AT_ONCE = 4
"""Answers taught together. Whole texts are padded to the longest, so few."""
_SETTLES_FROM = 0.6
"""Of the way, from which steps get shorter, down to nothing at its end."""


class Learner(ABC):
    """Base of the kinds. Each makes its `distiller`, of the weights that it begins with.

    layers: of the target, whose states lessons hold too.
    """

    distiller: InTraining

    def __init__(self, taught: Taught, settings: DayZeroSettings, layers: Sequence[int] = ()) -> None:
        decoder = taught.decoder
        self.taught = taught
        self.settings = settings
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.lessons = LessonCache(ReplayTeacher(decoder, Sizing(UNHURRIED, first=4096), layers), settings.cache_bytes)
        self.shortlist = Shortlist.over(decoder, settings.common_tokens, settings.sampled_tokens, self.generator)

    def pace(self, way: float) -> Pace:
        """How a step is made after this share of the way."""
        return replace(self.distiller.recipe, learning_rate=self.settings.learning_rate * self.slowed(way))

    def slowed(self, way: float) -> float:
        """The share of the learning rate that is left then."""
        return min(1.0, (1 - way) / (1 - _SETTLES_FROM))

    def batches(self, studied: Sequence[Kept]) -> Iterator[Sequence[Kept]]:
        """Answers to be taught together: all of them in any order, and again, without end."""
        while True:
            order = torch.randperm(len(studied), generator=self.generator).tolist()
            for start in range(0, len(order), AT_ONCE):
                yield [studied[index] for index in order[start : start + AT_ONCE]]

    def with_lessons(self, batch: Sequence[Kept]) -> list[tuple[Kept, Lesson]]:
        """Answers, and what the target thought along them."""
        return [(trace, finish(self.lessons.read(trace))) for trace in batch]

    @abstractmethod
    def teach(self, batch: Sequence[Kept]) -> None:
        """Adds the gradient of some answers."""


class Beginner(Learner):
    """Base of the speculators."""

    kind: str
    rival: ClassVar[str]
    """Whom the weights are judged against."""

    @abstractmethod
    def scores(self, weights: Mapping[str, Tensor], held_out: Sequence[Kept]) -> list[Score]:
        """What weights are worth on answers kept aside, against the rival."""


def of_like_length(studied: Sequence[Kept], generator: torch.Generator) -> Iterator[Sequence[Kept]]:
    """`Learner.batches` of answers that are about as long, prompts included: of 600 answers of sql, math and dialogue four whole
    texts are 1.01 times as long as they need be, where any four are 1.77 times."""
    order = sorted(studied, key=lambda trace: len(trace.tokens))
    groups = [order[start : start + AT_ONCE] for start in range(0, len(order), AT_ONCE)]
    while True:
        for index in reversed(torch.randperm(len(groups), generator=generator).tolist()):
            yield groups[index]
