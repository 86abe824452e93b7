"""Day zero of a draft language model: it begins as nothing but the target's embeddings, or as layers of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.draft import DraftModel
from speculator.draft_lm import KIND
from speculator.static_draft import draft_source
from trainer.alone import scores_alone
from trainer.beginner import Beginner
from trainer.dayzero_settings import DraftSettings
from trainer.draft_distil import DraftDistiller, DraftRecipe
from trainer.excerpt import Excerpt
from trainer.gate import Score
from trainer.kept import Kept
from trainer.taught import Taught


class DraftBeginner(Beginner):
    """Learns from whole texts, and is judged drafting alone.

    start: what it begins as, and is trained in place; None: as the target's embeddings, in the shape of `settings`.
    """

    kind = KIND
    rival = "drafting nothing"
    settings: DraftSettings
    distiller: DraftDistiller

    def __init__(self, taught: Taught, settings: DraftSettings, start: DraftModel | None = None) -> None:
        super().__init__(taught, settings)
        rate = settings.learning_rate
        recipe = DraftRecipe(learning_rate=rate, rows_per_step=settings.rows_per_step, hybrid=settings.hybrid)
        draft = (start or _begun(taught, settings)).to(taught.decoder.device)
        self.distiller = DraftDistiller(draft, self.shortlist, recipe)

    def teach(self, batch: Sequence[Kept]) -> None:
        self.distiller.teach([Excerpt.of(*each, self.settings.max_tokens) for each in self.with_lessons(batch)])

    def scores(self, weights: Mapping[str, Tensor], held_out: Sequence[Kept]) -> list[Score]:
        draft, decoder = DraftModel.from_config(self.distiller.config), self.taught.decoder
        draft.copy_weights(weights)
        budget = self.settings.budget
        source = draft_source(draft, version="", max_tree=budget, device=decoder.device, dtype=decoder.dtype)
        return scores_alone(source, decoder, held_out, budget)


def _begun(taught: Taught, settings: DraftSettings) -> DraftModel:
    draft = DraftModel(settings.shape.config_for(taught.decoder.config), torch.Generator().manual_seed(settings.seed))
    draft.start_from(taught.decoder.output_embeddings())
    return draft
