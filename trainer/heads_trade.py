"""HeadsTrade: training heads, of either kind. They learn from runs of neighbouring states, and are judged by trees."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.decoder import Decoder
from models.heads import DraftHeads
from pipelines.checkpoint import Checkpoint, Form
from speculator.static_heads import BUNDLED, find_static_heads, heads_of, untrained_config
from trainer.champion import Champion
from trainer.distil import Distiller, Recipe
from trainer.heads_drafter import HeadsDrafter
from trainer.lessons import Lesson, Passage
from trainer.settings import TrainerSettings
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing, padded
from trainer.taught import Taught
from trainer.teacher import LessonCache
from trainer.trade import Config, Draw

log = logging.getLogger(__name__)

RUN = 24
"""Longest run of neighbouring rows taken from one lesson at a time: rows of one answer resemble each other, and runs of 100
learnt no better from the same work. Neighbours share the target's distributions, so runs are cheaper than single rows."""


class HeadsTrade:
    """Raises CorruptCheckpoint for damaged static heads."""

    form: Form = "tree"

    def __init__(self, settings: TrainerSettings, taught: Taught, lessons: LessonCache, generator: torch.Generator) -> None:
        decoder = taught.decoder
        self.kind = settings.kind
        self.budget = settings.budget
        self.static = static_weights(settings.heads, taught, self.kind)
        self.floor = Champion.of(self.static) if self.static else _untrained(decoder, self.kind)
        shortlist = Shortlist.over(decoder, settings.common_tokens, settings.sampled_tokens, generator)
        recipe = Recipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step)
        self._taught = taught
        self._lessons = lessons
        self._generator = generator
        self._sizing, self._judging = Sizing(settings.slice_seconds), Sizing(settings.slice_seconds)
        self.distiller = Distiller(self._heads(self.floor.config, self.floor.weights), shortlist, recipe)

    def begin(self, config: Config, weights: Mapping[str, Tensor] | None = None) -> None:
        self.distiller.restart(self._heads(config, weights))

    def teach(self, draw: Draw) -> int:
        """Runs of rows, exactly as many rows as fit a slice."""
        passage = self._passage(draw)
        with self._sizing.slice(len(passage)):
            self.distiller.teach(passage)
        return len(passage)

    def drafter(self, config: Config, weights: Mapping[str, Tensor]) -> HeadsDrafter:
        heads = self._heads(config, weights)
        return HeadsDrafter(heads, self._lessons, self._taught.unembed, budget=self.budget, sizing=self._judging)

    def _heads(self, config: Config, weights: Mapping[str, Tensor] | None) -> DraftHeads:
        heads = heads_of(self.kind, config, self._taught.decoder)
        if weights is not None:
            heads.copy_weights(weights)
        return heads

    def _passage(self, draw: Draw) -> Passage:
        runs: list[Lesson] = []
        missing = min(self._sizing.rows, padded(self.distiller.recipe.rows_per_step))
        while missing > 0:
            for trace in draw(-(-missing // RUN)):
                run = random_run(self._lessons.known(trace), self._generator)[:missing]
                runs += [run] if len(run) else []
                missing -= len(run)
        return Passage.of(runs)


def static_weights(folder: str, taught: Taught, kind: str) -> Checkpoint | None:
    """The static heads, or eagle layer, made for this target, if there are any; an empty `folder`: among the bundled ones."""
    path = Path(folder) if folder else BUNDLED
    static = find_static_heads(
        path, target=taught.fingerprint, tokenizer=taught.tokenizer, stored=taught.stored, kind=kind
    )
    if static is None:
        log.warning("nothing static of kind %s for this target in %s: training starts from untrained weights", kind, path)
    return static


def random_run(lesson: Lesson, generator: torch.Generator) -> Lesson:
    """Neighbouring rows of a lesson, at most RUN."""
    if len(lesson) <= RUN:
        return lesson
    start = int(torch.randint(len(lesson) - RUN + 1, (), generator=generator))
    return lesson[start : start + RUN]


def _untrained(decoder: Decoder, kind: str) -> Champion:
    """Heads of the shape a server starts with when there are no others."""
    heads = heads_of(kind, untrained_config(kind, decoder.config), decoder)
    return Champion.untrained(heads.config, dict(heads.named_parameters()))
