"""Day zero of a target and Medusa heads that learn together: what comes of it is another target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from models.heads import MedusaHeads
from models.trainable import TrainableDecoder
from trainer.beginner import Learner, of_like_length
from trainer.dayzero_settings import JointSettings
from trainer.excerpt import Stretch
from trainer.joint_distil import JointDistiller, JointRecipe
from trainer.kept import Kept
from trainer.taught import Taught


class JointLearner(Learner):
    """Learns from whole texts. weights: of the target as stored, by Hugging Face name. first: of the heads; None: untrained ones.

    The heads' loss counts little at first, when they would only pull the target about: its weight grows as a quarter of a sine
    (section 2.2.2 of the paper).
    """

    settings: JointSettings
    distiller: JointDistiller

    def __init__(
        self, taught: Taught, weights: Mapping[str, Tensor], settings: JointSettings, first: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(taught, settings)
        decoder = taught.decoder
        target = TrainableDecoder(decoder.config, weights).to(decoder.device)
        shape = decoder.config
        heads = MedusaHeads(shape.hidden_size, settings.num_heads, settings.num_blocks, shape.vocab_size).to(decoder.device)
        if first is not None:
            heads.copy_weights(first)
        recipe = JointRecipe(learning_rate=settings.learning_rate, rows_per_step=settings.rows_per_step)
        self.distiller = JointDistiller(target, heads, self.shortlist, recipe, heads_rate=settings.heads_rate)

    def pace(self, way: float) -> JointRecipe:
        slowed = self.settings.learning_rate * self.slowed(way)
        weight = self.settings.heads_weight * math.sin(math.pi / 2 * way)
        return replace(self.distiller.recipe, learning_rate=slowed, heads_weight=weight)

    def batches(self, studied: Sequence[Kept]) -> Iterator[Sequence[Kept]]:
        return of_like_length(studied, self.generator)

    def teach(self, batch: Sequence[Kept]) -> None:
        self.distiller.teach([Stretch.of(each, self.settings.max_tokens, self.generator) for each in batch])
