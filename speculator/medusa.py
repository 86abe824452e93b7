"""Medusa heads as a source of drafts: each head predicts one position ahead from the target's last hidden state.

(Medusa, arXiv 2401.10774; the unembedding is the target's own and frozen, so a version is only the residual blocks.)
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from models.errors import BadModel
from models.heads import MedusaHeads
from pipelines.errors import ForeignCheckpoint
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.guesses import Choice, guesses
from speculator.lattice import grow_lattice
from speculator.protocol import Budget, Checkpoint
from speculator.verify import Verdicts
from speculator.vocabulary import DraftVocabulary

_PROMPT_TAIL = 256
"""Prompt tokens that are shown to the draft vocabulary, at the end."""
_MOST_SAID = 1024
"""Tokens that wait to be shown to it while nobody asks for drafts; older ones are forgotten."""
NUM_CANDIDATES = 8
"""Candidates for each depth: as many siblings as a tree of some sixteen nodes has room for."""

class MedusaSpeculator:
    """Drafts from heads on `Sequence.hidden`. Weights are copied into the buffers in use when a checkpoint is loaded.

    name: `medusa` for the heads that learn, `medusa-static` for the floor that does not. unembed: states […, H] -> logits
    […, V]; with a draft `vocabulary` only its tokens are scored, and drafted.
    """

    needs_hidden = True

    def __init__(
        self,
        heads: MedusaHeads,
        unembed: Callable[[Tensor], Tensor],
        *,
        name: str,
        version: str,
        max_tree: int = 32,
        vocabulary: DraftVocabulary | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self._heads = heads.eval().requires_grad_(False)
        self._unembed = unembed if vocabulary is None else vocabulary.scores
        self._vocabulary = vocabulary
        self._said: deque[int] = deque(maxlen=_MOST_SAID)
        """Tokens that the draft vocabulary has not seen yet."""
        self._max_tree = max_tree
        self._seconds_per_call = 0.0

    def begin(self, sequence: Sequence) -> None:
        """What the prompt says may well be said again."""
        self._said.extend(sequence.tokens[-_PROMPT_TAIL:])

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
            if self._vocabulary is not None:
                self._vocabulary.see(self._said)
                self._said.clear()
            each = min(budget.share(len(asked)), self._max_tree)
            hidden = [batch.decoding[index].hidden for index in asked]
            choices = [(batch.decoding[index].sampling, batch.decoding[index].num_output) for index in asked]
            tokens, probs = self.candidates(torch.stack([state for state in hidden if state is not None]), choices)
            for row, index in enumerate(asked):
                sequence = batch.decoding[index]
                depth = min(budget.max_depth, sequence.num_left - 1)
                trees[index] = grow_lattice(sequence.tokens[-1], tokens[row], probs[row], max_nodes=each, max_depth=depth)
            self._seconds_per_call = 0.9 * self._seconds_per_call + 0.1 * (time.perf_counter() - started)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    @torch.inference_mode()
    def candidates(self, hidden: Tensor, choices: SequenceOf[Choice]) -> tuple[list[list[list[int]]], list[list[list[float]]]]:
        """Tokens and chances [B][K][C] of the best candidates for each depth, from hidden states [B, H].

        choices: [B] how, and at which output position, the target will choose the token that the first head predicts. Its noise
        is known, so a candidate is what the noise would make of the head's scores (see `kernels.candidates`): at temperature
        0.8 this finds up to twice as many of the target's choices as the likeliest tokens do.
        """
        logits = self._unembed(self._heads(hidden))  # [B, K, V]
        num_rows, depth, vocab_size = logits.shape
        levels = [(sampling, position + level) for sampling, position in choices for level in range(depth)]
        ids = None if self._vocabulary is None else self._vocabulary.ids
        tokens, chances = guesses(logits.view(num_rows * depth, vocab_size), levels, NUM_CANDIDATES, ids)
        starts = range(0, num_rows * depth, depth)
        return [tokens[at : at + depth] for at in starts], [chances[at : at + depth] for at in starts]

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Heads cannot draft ahead of the hidden state they need."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Heads learn in the trainer; the draft vocabulary when it is next needed."""
        for emitted in verdicts.emitted:
            self._said.extend(emitted)

    def end(self, sequence: Sequence) -> None:
        """Nothing was kept of it."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Copies the weights into the buffers in use. Raises ForeignCheckpoint, changing nothing, where they do not fit."""
        try:
            self._heads.copy_weights(checkpoint.weights)
        except BadModel as error:
            raise ForeignCheckpoint(f"version {checkpoint.manifest.version}: {error}") from error
        self.version = checkpoint.manifest.version

    def cost(self, rows: int) -> float:
        return self._seconds_per_call
