"""Medusa heads as a source of drafts: each head predicts one position ahead from the target's last hidden state.

(Medusa, arXiv 2401.10774; the unembedding is the target's own and frozen, so a version is only the residual blocks.)
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from models.errors import BadModel
from models.heads import MedusaHeads
from pipelines.errors import ForeignCheckpoint
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.lattice import grow_lattice
from speculator.protocol import Budget, Checkpoint
from speculator.verify import Verdicts

NUM_CANDIDATES = 8
"""Candidates for each depth: as many siblings as a tree of some sixteen nodes has room for."""


class MedusaSpeculator:
    """Drafts from heads on `Sequence.hidden`. Weights are copied into the buffers in use when a checkpoint is loaded.

    name: `medusa` for the heads that learn, `medusa-static` for the floor that does not.
    """

    needs_hidden = True

    def __init__(
        self, heads: MedusaHeads, unembed: Callable[[Tensor], Tensor], *, name: str, version: str, max_tree: int = 32
    ) -> None:
        self.name = name
        self.version = version
        self._heads = heads.eval().requires_grad_(False)
        self._unembed = unembed
        self._max_tree = max_tree
        self._seconds_per_call = 0.0

    def begin(self, sequence: Sequence) -> None:
        """Nothing to prepare: the hidden state comes with the sequence."""

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        """A tree for each decoding sequence, grown best first; empty without a hidden state or with nothing left to draft."""
        started = time.perf_counter()
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        asked = [
            index
            for index, sequence in enumerate(batch.decoding)
            if sequence.speculative and sequence.hidden is not None and sequence.num_left > 1
        ]
        if asked and budget.allows(self.name):
            each = min(budget.share(len(asked)), self._max_tree)
            hidden = [batch.decoding[index].hidden for index in asked]
            tokens, probs = self.candidates(torch.stack([state for state in hidden if state is not None]))
            for row, index in enumerate(asked):
                sequence = batch.decoding[index]
                depth = min(budget.max_depth, sequence.num_left - 1)
                trees[index] = grow_lattice(sequence.tokens[-1], tokens[row], probs[row], max_nodes=each, max_depth=depth)
            self._seconds_per_call = 0.9 * self._seconds_per_call + 0.1 * (time.perf_counter() - started)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    @torch.inference_mode()
    def candidates(self, hidden: Tensor) -> tuple[list[list[list[int]]], list[list[list[float]]]]:
        """Tokens and probabilities [B][K][C] of the best candidates for each depth, from hidden states [B, H]."""
        logits = self._unembed(self._heads(hidden))  # [B, K, V]
        top = logits.softmax(-1).topk(min(NUM_CANDIDATES, logits.shape[-1]))
        return top.indices.tolist(), top.values.tolist()

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Heads cannot draft ahead of the hidden state they need."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Heads learn in the trainer, not here."""

    def end(self, sequence: Sequence) -> None:
        """Nothing was kept."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Copies the weights into the buffers in use. Raises ForeignCheckpoint, changing nothing, where they do not fit."""
        try:
            self._heads.copy_weights(checkpoint.weights)
        except BadModel as error:
            raise ForeignCheckpoint(f"version {checkpoint.manifest.version}: {error}") from error
        self.version = checkpoint.manifest.version

    def cost(self, rows: int) -> float:
        return self._seconds_per_call
