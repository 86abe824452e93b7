"""Medusa heads as a source of drafts: each head predicts one position ahead from the target's last hidden state.

(Medusa, arXiv 2401.10774.)
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from models.heads import MedusaHeads, PackedMedusa
from speculator.drafts import Tree
from speculator.guesses import Choice
from speculator.heads import HeadsSpeculator, Root
from speculator.kinds import MEDUSA
from speculator.lattice import grow_lattice


class MedusaSpeculator(HeadsSpeculator[MedusaHeads]):
    """All heads at once, and a lattice of what they say."""

    KIND = MEDUSA

    _packed: PackedMedusa

    def packed(self, weights: Mapping[str, Tensor]) -> PackedMedusa:
        return PackedMedusa(weights)

    def trees(self, hidden: Tensor, roots: SequenceOf[Root]) -> list[Tree]:
        tokens, chances = self.candidates(hidden, [root.choice for root in roots])
        return [
            grow_lattice(root.token, names, shares, max_nodes=root.most, max_depth=root.max_depth)
            for root, names, shares in zip(roots, tokens, chances, strict=True)
        ]

    @torch.inference_mode()
    def candidates(self, hidden: Tensor, choices: SequenceOf[Choice]) -> tuple[list[list[list[int]]], list[list[list[float]]]]:
        """Tokens and chances [B][K][C] of the best candidates for each depth, from hidden states [B, H].

        choices: [B] how the target will choose the token that the first head predicts.
        """
        depth = self.num_heads
        states = self._packed(hidden).reshape(-1, hidden.shape[-1])  # [B K, H]
        levels = [(sampling, position + level) for sampling, position in choices for level in range(depth)]
        tokens, chances = self.guessed(states, levels)
        starts = range(0, len(levels), depth)
        return [tokens[at : at + depth] for at in starts], [chances[at : at + depth] for at in starts]
