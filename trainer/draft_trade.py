"""DraftTrade: training a draft language model. It learns from whole texts, and is judged by chains."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.decoder import Decoder
from models.draft import DraftModel, DraftShape
from pipelines.checkpoint import Checkpoint
from speculator.draft_lm import KIND
from speculator.static_draft import BUNDLED, find_static_draft
from trainer.chain_drafter import ChainDrafter
from trainer.champion import Champion
from trainer.draft_distil import DraftDistiller, DraftRecipe
from trainer.excerpt import Excerpt
from trainer.kept import Kept
from trainer.settings import TrainerSettings
from trainer.shortlist import Shortlist
from trainer.sizing import Sizing
from trainer.taught import Taught
from trainer.teacher import LessonCache
from trainer.text_trade import FIRST_ROWS, TextTrade
from trainer.trade import Config

log = logging.getLogger(__name__)


class DraftTrade(TextTrade[Excerpt]):
    """Raises CorruptCheckpoint for a damaged static draft model.

    Judged as a chain of the tokens that servers look ahead (`engine.ssd_lookahead`): that is what a draft model beside the target
    drafts, and one reading of a text tells it exactly. What gained as a chain has gained as a tree too, where both were measured.
    """

    kind = KIND
    longest = 1024
    distiller: DraftDistiller

    def __init__(self, settings: TrainerSettings, taught: Taught, lessons: LessonCache, generator: torch.Generator) -> None:
        super().__init__(settings, lessons, generator)
        decoder = taught.decoder
        self.static = static_draft(settings.draft, taught)
        self.floor = Champion.of(self.static) if self.static else _untrained(decoder, settings.seed)
        shortlist = Shortlist.over(decoder, settings.common_tokens, settings.sampled_tokens, generator)
        rate, rows = settings.learning_rate, settings.rows_per_step
        recipe = DraftRecipe(learning_rate=rate, rows_per_step=rows, hybrid=settings.hybrid)
        self._device = decoder.device
        self._judging = Sizing(settings.slice_seconds, first=FIRST_ROWS)
        draft = self._draft(self.floor.config, self.floor.weights)
        self.distiller = DraftDistiller(draft, shortlist, recipe)

    def begin(self, config: Config, weights: Mapping[str, Tensor] | None = None) -> None:
        self.distiller.restart(self._draft(config, weights))

    def excerpt_of(self, trace: Kept, max_tokens: int) -> Excerpt:
        return Excerpt.of(trace, self._lessons.known(trace), max_tokens, self._generator)

    def drafter(self, config: Config, weights: Mapping[str, Tensor]) -> ChainDrafter:
        return ChainDrafter(self._draft(config, weights), lookahead=self.budget, sizing=self._judging)

    def _draft(self, config: Config, weights: Mapping[str, Tensor] | None) -> DraftModel:
        draft = DraftModel.from_config(config).to(self._device)
        if weights is not None:
            draft.copy_weights(weights)
        return draft


def static_draft(folder: str, taught: Taught) -> Checkpoint | None:
    """The static draft model made for this target, if there is one; an empty `folder`: the bundled one."""
    path = Path(folder) if folder else BUNDLED
    static = find_static_draft(path, target=taught.fingerprint, tokenizer=taught.tokenizer, stored=taught.stored)
    if static is None:
        log.warning("no static draft model for this target in %s: training starts from an untrained one", path)
    return static


def _untrained(decoder: Decoder, seed: int) -> Champion:
    """A small draft that starts from the target's embeddings."""
    draft = DraftModel(DraftShape().config_for(decoder.config), torch.Generator().manual_seed(seed))
    draft.start_from(decoder.output_embeddings())
    return Champion.untrained(draft.config, draft.tensors)
