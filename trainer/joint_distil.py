"""Joint distillation: a target and Medusa heads learn together, the target to be easier to foresee and yet what it was.

(Medusa-2, arXiv 2401.10774, sections 2.2.2 and 2.3.2.) The loss at each row of the target's own answers is

    KL(original || target) + weight * sum over heads k of 0.8^k CE(original at row + k + 1, head k)

The original is the target as it was, frozen. It reads the same texts side by side with the one in training: while nothing pulls
at them, the two agree to the last bit, and the gradient is zero, not noise that Adam would make whole steps of. Heads learn the
original's distribution in place of the sampled token, as in `trainer.distil`. They score with the target's unembedding, which
moves, too. The paper trains low-rank adapters; here all of the target is trained, at the price of a second copy and two moments.

Tokens per step on answers of its own to 60 prompts kept aside (bundled target, 540 answers of sql, math, dialogue at 0.8, trees
of 16 nodes, 256 rows a step, untrained heads at first, one CPU thread of a machine that others kept busy; good to 0.05 or so):

                                 seconds    all    sql    math   dialogue    nats a token    equal first choices
    heads alone, 150 steps          39     1.86   1.79   1.91     1.75
    heads alone, 1,500 steps       156     1.96   1.85   2.00     1.96
    together, 150, weight 0.2      250     1.96   2.03   1.98     1.78          0.018             93.7 %
    together, 150, weight 1        228     2.08   2.08   2.12     1.91          0.069             87.1 %
    1,000 (of 512 rows) alone      108     1.96   1.85   2.00     1.99
    and 90 together, weight 0.2   +108     2.03   1.96   2.08     1.90          0.006             96.3 %

A step together costs six times one of the heads alone, so heads learn alone first (the paper's two stages).

As in `trainer.distil`, products run in the dtype the machine is fastest in, softmax and loss in float32, and the gradient at the
logits is written out.

Legend: N rows taught, K heads, H hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.heads import MedusaHeads
from models.trainable import TrainableDecoder
from trainer.excerpt import Stretch, states_at
from trainer.in_training import InTraining, Pace
from trainer.pull import pulled
from trainer.shortlist import Columns, Shortlist

_TARGET, _HEADS = "target.", "heads."


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRecipe(Pace):
    """How a step is made."""

    learning_rate: float = 1e-4
    """Of the target."""
    rows_per_step: int = 512
    warmup_steps: int = 20
    averaging: float = 0.99
    depth_decay: float = 0.8
    heads_weight: float = 0.0
    """Of the heads' loss beside the target's own."""


@dataclass(frozen=True, slots=True)
class Jointly:
    """What training together made."""

    target: Mapping[str, Tensor]
    """By Hugging Face name."""
    heads: Mapping[str, Tensor]

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Jointly:
        """From the weights of a `JointDistiller`."""
        return cls(_within(weights, _TARGET), _within(weights, _HEADS))


def _within(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


class JointDistiller(InTraining):
    """Trains both, in place, slice by slice: `teach` adds the gradient of some texts, `step` moves the weights.

    heads_rate: their learning rate, in multiples of the target's. shortlist: over the original's unembedding. `loss` is in nats,
    mean over rows: the target's divergence and the heads', weighted by depth alone.
    """

    recipe: JointRecipe

    def __init__(
        self, target: TrainableDecoder, heads: MedusaHeads, shortlist: Shortlist, recipe: JointRecipe, *, heads_rate: float
    ) -> None:
        super().__init__()
        self.shortlist = shortlist
        self.recipe = recipe
        self.target = target.train().requires_grad_(True)
        self.heads = heads.train().requires_grad_(True)
        self.original = copy.deepcopy(target).requires_grad_(False)
        of_heads = {_HEADS + name: weight for name, weight in heads.named_parameters()}
        of_target = {_TARGET + name: weight for name, weight in target.tensors.items()}
        self._begin((of_target | of_heads).items(), dict.fromkeys(of_heads, heads_rate))

    @property
    def config(self) -> dict[str, int | float | str | bool]:
        """Of the heads."""
        return self.heads.config

    def teach(self, texts: Sequence[Stretch]) -> None:
        """Adds the gradient of some texts: one slice of work."""
        columns = self.shortlist.draw()
        dtype = columns.unembedding.dtype
        with torch.autocast(self.target.device.type, dtype, enabled=dtype != torch.float32):
            states = states_at(self.target, texts)  # [N, H]
            with torch.no_grad():
                hidden = states_at(self.original, texts)  # [N, H]
        own = columns.of(self.target.output_embeddings())
        pull = pulled(states.detach().to(dtype), hidden, own, columns)
        columns.add_to(self.target.output_embeddings(), pull.at_own)
        ahead = self.heads(states.float())  # [N, K, H]
        at_ahead, divergence = self._ahead(ahead.detach().to(dtype), hidden, own, columns, _num_ahead(texts).to(hidden.device))
        torch.autograd.backward((states, ahead), (pull.at_states.to(states.dtype), at_ahead.to(ahead.dtype)))
        self._taught(len(hidden), pull.divergence + divergence)

    def _ahead(
        self, ahead: Tensor, hidden: Tensor, own: Columns, columns: Columns, num_ahead: Tensor
    ) -> tuple[Tensor, float]:
        """Gradient [N, K, H] at the heads' states, and their loss before its weight; adds the gradient at the unembedding."""
        gradient, divergence = torch.empty_like(ahead), 0.0
        rows = torch.arange(len(hidden), device=hidden.device)
        for head in range(ahead.shape[1]):
            taught = (rows + head + 1).clamp_(max=len(hidden) - 1)
            depth_weight = self.recipe.depth_decay**head * (num_ahead > head)
            pull = pulled(ahead[:, head], hidden[taught], own, columns, weight=depth_weight)
            gradient[:, head] = self.recipe.heads_weight * pull.at_states
            columns.add_to(self.target.output_embeddings(), self.recipe.heads_weight * pull.at_own)
            divergence += pull.divergence
        return gradient, divergence


def _num_ahead(texts: Sequence[Stretch]) -> Tensor:
    """[N] rows that follow within the same text: how deep a head can be taught at each."""
    return torch.cat([torch.arange(each.num_taught - 1, -1, -1) for each in texts])
