"""Day zero of heads, of either kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from models.heads import DraftHeads
from speculator.static_heads import heads_of, untrained_config
from trainer.beginner import AT_ONCE, UNHURRIED, Beginner
from trainer.champion import Champion
from trainer.dayzero_settings import HeadsSettings
from trainer.distil import Distiller, Recipe
from trainer.gate import Score
from trainer.heads_drafter import HeadsDrafter
from trainer.heads_trade import random_run
from trainer.judge import Judge
from trainer.kept import Kept
from trainer.lessons import Passage
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.taught import Taught

_SLOWER_FROM = 2 / 3
"""Of the way, from which steps are a third as long: the last third settles."""


class HeadsBeginner(Beginner):
    """Learns from runs of neighbouring states, and is judged by trees."""

    rival = "untrained heads"
    settings: HeadsSettings
    distiller: Distiller

    def __init__(self, taught: Taught, settings: HeadsSettings) -> None:
        super().__init__(taught, settings)
        self.kind = settings.kind
        recipe = Recipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step, averaging=0.99)
        self.distiller = Distiller(self._untrained(), self.shortlist, recipe)

    def slowed(self, way: float) -> float:
        return 1 / 3 if way >= _SLOWER_FROM else 1.0

    def batches(self, studied: Sequence[Kept]) -> Iterator[Sequence[Kept]]:
        while True:
            yield [studied[index] for index in torch.randint(len(studied), (AT_ONCE,), generator=self.generator).tolist()]

    def teach(self, batch: Sequence[Kept]) -> None:
        self.distiller.teach(Passage.of([random_run(lesson, self.generator) for _, lesson in self.with_lessons(batch)]))

    def scores(self, weights: Mapping[str, Tensor], held_out: Sequence[Kept]) -> list[Score]:
        untrained, heads = self._untrained(), self._untrained()
        heads.copy_weights(weights)
        court = Judge(lambda champion: self._drafter(untrained))
        standing = Champion.untrained(untrained.config, dict(untrained.named_parameters()))
        return finish(court.scores(held_out, standing, self._drafter(heads)))

    def _drafter(self, heads: DraftHeads) -> HeadsDrafter:
        sizing = Sizing(UNHURRIED, first=256)
        return HeadsDrafter(heads, self.lessons, self.taught.unembed, budget=self.settings.budget, sizing=sizing)

    def _untrained(self) -> DraftHeads:
        settings, decoder = self.settings, self.taught.decoder
        config = untrained_config(settings.kind, decoder.config, settings.num_heads, settings.num_blocks)
        return heads_of(settings.kind, config, decoder)
