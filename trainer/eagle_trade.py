"""EagleTrade: training an EAGLE layer. It learns from whole texts and the target's layers along them, and is judged by chains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.eagle import EagleLayer, layers_read, untrained_config
from models.errors import BadModel
from pipelines.checkpoint import Form
from speculator.kinds import EAGLE
from trainer.champion import Champion
from trainer.eagle_distil import EagleDistiller, EagleRecipe, LayeredExcerpt
from trainer.eagle_drafter import EagleDrafter
from trainer.heads_trade import static_heads
from trainer.precision import fast_dtype
from trainer.settings import TrainerSettings
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing, padded
from trainer.taught import Taught
from trainer.teacher import LessonCache
from trainer.trade import Config, Draw

_FIRST_ROWS = 128
"""Tokens of the first slice, before it is known how many fit."""
LONGEST = 512
"""Tokens of a text read at once, where a slice would have room for more: attention over them is a matrix."""


class EagleTrade:
    """Raises CorruptCheckpoint for a damaged static layer, BadModel for one that reads others of the target's layers than lessons
    hold.

    Judged as a chain, as draft models are: unrolled along a text, the layer tells exactly how far each chain gets, where trees
    would need the passes that serving takes.
    """

    kind = EAGLE
    form: Form = "chain"

    def __init__(self, settings: TrainerSettings, taught: Taught, lessons: LessonCache, generator: torch.Generator) -> None:
        decoder = taught.decoder
        self.budget = settings.lookahead
        self.static = static_heads(settings.heads, taught, EAGLE)
        self._taught = taught
        self._lessons = lessons
        self._generator = generator
        self._sizing = Sizing(settings.slice_seconds, first=_FIRST_ROWS)
        self.floor = Champion.of(self.static) if self.static else self._untrained()
        columns = decoder.output_embeddings().to(fast_dtype(decoder.device)).contiguous()
        shortlist = Shortlist(columns, settings.common_tokens, settings.sampled_tokens, generator)
        recipe = EagleRecipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step)
        self.distiller = EagleDistiller(self._layer(self.floor.config, self.floor.weights), shortlist, recipe)

    def begin(self, config: Config, weights: Mapping[str, Tensor] | None = None) -> None:
        self.distiller.restart(self._layer(config, weights))

    def teach(self, draw: Draw) -> int:
        """Texts, as many as fit a slice side by side, at least one: cut where it alone is too long."""
        excerpts = self._excerpts(draw)
        with self._sizing.slice(_work(excerpts)):
            self.distiller.teach(excerpts)
        return sum(len(excerpt.hidden) for excerpt in excerpts)

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

    def _excerpts(self, draw: Draw) -> list[LayeredExcerpt]:
        room, missing = self._sizing.rows, self.distiller.recipe.rows_per_step
        excerpts: list[LayeredExcerpt] = []
        while missing > 0:
            [trace] = draw(1)
            excerpt = LayeredExcerpt.of(trace, self._lessons.known(trace), min(room, LONGEST), self._generator)
            if excerpts and _work([*excerpts, excerpt]) > room:
                draw.put_back(trace)  # rather than to draw until a short one comes: long texts would hardly be taught
                break
            excerpts.append(excerpt)
            missing -= len(excerpt.hidden)
        return excerpts


def _work(excerpts: list[LayeredExcerpt]) -> int:
    """Tokens read for them, those included that fill the shorter ones up."""
    return len(excerpts) * padded(max(len(excerpt.tokens) for excerpt in excerpts))
