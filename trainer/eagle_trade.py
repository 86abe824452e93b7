"""EagleTrade: training an EAGLE layer. It learns from whole texts and the target's layers along them, and is judged by chains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.eagle import EagleLayer, layers_read, untrained_config
from models.errors import BadModel
from speculator.kinds import EAGLE
from trainer.champion import Champion
from trainer.eagle_distil import EagleDistiller, EagleRecipe, LayeredExcerpt
from trainer.eagle_drafter import EagleDrafter
from trainer.heads_trade import static_weights
from trainer.kept import Kept
from trainer.settings import TrainerSettings
from trainer.shortlist import Shortlist
from trainer.taught import Taught
from trainer.teacher import LessonCache
from trainer.text_trade import TextTrade
from trainer.trade import Config


class EagleTrade(TextTrade[LayeredExcerpt]):
    """Raises CorruptCheckpoint for a damaged static layer, BadModel for one that reads others of the target's layers than lessons
    hold.

    Judged as a chain, as draft models are: unrolled along a text, the layer tells exactly how far each chain gets, where trees
    would need the passes that serving takes.
    """

    kind = EAGLE
    longest = 512
    """Attention over a text is a matrix."""
    distiller: EagleDistiller

    def __init__(self, settings: TrainerSettings, taught: Taught, lessons: LessonCache, generator: torch.Generator) -> None:
        super().__init__(settings, lessons, generator)
        self.static = static_weights(settings.heads, taught, EAGLE)
        self._taught = taught
        self.floor = Champion.of(self.static) if self.static else self._untrained()
        shortlist = Shortlist.over(taught.decoder, settings.common_tokens, settings.sampled_tokens, generator)
        recipe = EagleRecipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step)
        self.distiller = EagleDistiller(self._layer(self.floor.config, self.floor.weights), shortlist, recipe)

    def begin(self, config: Config, weights: Mapping[str, Tensor] | None = None) -> None:
        self.distiller.restart(self._layer(config, weights))

    def excerpt_of(self, trace: Kept, max_tokens: int) -> LayeredExcerpt:
        return LayeredExcerpt.of(trace, self._lessons.known(trace), max_tokens, self._generator)

    def drafter(self, config: Config, weights: Mapping[str, Tensor]) -> EagleDrafter:
        return EagleDrafter(self._layer(config, weights), self._lessons, self._taught, lookahead=self.budget)

    def _untrained(self) -> Champion:
        layer = EagleLayer(untrained_config(self._taught.decoder.config), self._taught.decoder)
        return Champion.untrained(layer.config, layer.tensors)

    def _layer(self, config: Config, weights: Mapping[str, Tensor] | None) -> EagleLayer:
        layer, read = EagleLayer(config, self._taught.decoder), layers_read(self._taught.decoder.config)
        if layer.layers != read:
            raise BadModel(f"the eagle layer reads the target's layers {layer.layers}; expected {read}")
        if weights is not None:
            layer.copy_weights(weights)
        return layer
