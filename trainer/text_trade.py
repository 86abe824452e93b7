"""TextTrade: training what learns from whole texts, as many of them as fit a slice side by side, and is judged by chains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic

import torch

from pipelines.checkpoint import Form
from trainer.excerpt import Excerpt
from trainer.kept import Kept
from trainer.settings import TrainerSettings
from trainer.sizing import Sizing, padded
from trainer.teacher import LessonCache
from trainer.text_distil import E, TextDistiller
from trainer.trade import Draw

FIRST_ROWS = 128
"""Tokens of the first slice, before it is known how many fit."""


class TextTrade(ABC, Generic[E]):
    """Base of these trades. Each makes its `distiller`.

    longest: tokens of a text read at once, where a slice would have room for more.
    """

    form: Form = "chain"
    longest: int
    distiller: TextDistiller[E]

    def __init__(self, settings: TrainerSettings, lessons: LessonCache, generator: torch.Generator) -> None:
        self.budget = settings.lookahead
        self._lessons = lessons
        self._generator = generator
        self._sizing = Sizing(settings.slice_seconds, first=FIRST_ROWS)

    def teach(self, draw: Draw) -> int:
        """Texts, as many as fit a slice side by side, at least one: cut where it alone is too long."""
        excerpts = self._excerpts(draw)
        with self._sizing.slice(_work(excerpts)):
            self.distiller.teach(excerpts)
        return sum(excerpt.num_taught for excerpt in excerpts)

    @abstractmethod
    def excerpt_of(self, trace: Kept, max_tokens: int) -> E:
        """A trace whose lesson is known, or any part of it with some of its answer."""

    def _excerpts(self, draw: Draw) -> list[E]:
        room, missing = self._sizing.rows, self.distiller.recipe.rows_per_step
        excerpts: list[E] = []
        while missing > 0:
            [trace] = draw(1)
            excerpt = self.excerpt_of(trace, min(room, self.longest))
            if excerpts and _work([*excerpts, excerpt]) > room:
                draw.put_back(trace)  # rather than to draw until a short one comes: long texts would hardly be taught
                break
            excerpts.append(excerpt)
            missing -= excerpt.num_taught
        return excerpts


def _work(excerpts: Sequence[Excerpt]) -> int:
    """Tokens read for them, those included that fill the shorter ones up."""
    return len(excerpts) * padded(max(len(excerpt.tokens) for excerpt in excerpts))
