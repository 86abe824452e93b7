"""Day zero of an EAGLE layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from models.eagle import EagleLayer, layers_read, untrained_config
from speculator.kinds import EAGLE
from speculator.static_eagle import eagle_source
from trainer.alone import scores_alone
from trainer.beginner import Beginner, of_like_length
from trainer.dayzero_settings import EagleSettings
from trainer.eagle_distil import EagleDistiller, EagleRecipe, LayeredExcerpt
from trainer.gate import Score
from trainer.kept import Kept
from trainer.taught import Taught


class EagleBeginner(Beginner):
    """Learns from whole texts and the target's layers along them, and is judged drafting alone."""

    kind = EAGLE
    rival = "drafting nothing"
    settings: EagleSettings
    distiller: EagleDistiller

    def __init__(self, taught: Taught, settings: EagleSettings) -> None:
        config = taught.decoder.config
        super().__init__(taught, settings, layers_read(config))
        recipe = EagleRecipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step, averaging=0.99)
        self._layer = EagleLayer(untrained_config(config, parallel=settings.parallel), taught.decoder)
        self.distiller = EagleDistiller(self._layer, self.shortlist, recipe)

    def batches(self, studied: Sequence[Kept]) -> Iterator[Sequence[Kept]]:
        return of_like_length(studied, self.generator)

    def teach(self, batch: Sequence[Kept]) -> None:
        most = self.settings.max_tokens
        self.distiller.teach([LayeredExcerpt.of(*each, most, self.generator) for each in self.with_lessons(batch)])

    def scores(self, weights: Mapping[str, Tensor], held_out: Sequence[Kept]) -> list[Score]:
        self._layer.copy_weights(weights)
        budget = self.settings.budget
        return scores_alone(eagle_source(self._layer, version="", max_tree=budget), self.taught.decoder, held_out, budget)
