"""Distillation: heads learn to give the target's own distribution.

At row j of a lesson, which chose output token j, head k (from 0) is taught the distribution at row j + k + 1: the
loss is KL(target || head), weighted 0.8^k (Medusa, arXiv 2401.10774, section 2.2.1, with the target's
distribution in place of the sampled token). Traffic is the target's own text whoever drafted it, so old traces need no
importance weights.

Products with the unembedding run in the dtype the machine is fastest in, softmax and loss in float32. The gradient
of the loss is written out (q - p at the logits): autograd sees the residual blocks alone.

Chosen by tokens per step on kept answers after so many seconds of one CPU thread (bundled target's shape, 4 heads, trees of
16 nodes, from heads that know stories and dialogue; sql at temperature 0 and 0.8, before: 1.10 and 1.05; math: 1.24 and 1.18):

                                          sql 0.5 s      sql 2 s      math 0.5 s     math 2 s
    512 common + 512 sampled tokens      1.84  1.78    1.92  1.83    1.93  1.49    2.15  1.56
    256 + 256                            1.86  1.81    1.93  1.87    1.95  1.50    2.15  1.56
    1,024 + 1,024                        1.79  1.77    1.89  1.84    1.84  1.45    2.08  1.54
    whole vocabulary of 8,192            1.49  1.40    1.82  1.78    1.60  1.35    1.90  1.48
    whole, float32 products              1.21  1.15    1.79  1.71    1.43  1.28    1.74  1.40
    512 + 512, float32 products          1.79  1.74    1.90  1.85    1.75  1.40    2.06  1.54
    learning rate 1e-3 (else 2e-3)       1.80  1.75    1.90  1.84    1.84  1.46    2.09  1.55
    learning rate 4e-3                   1.82  1.75    1.89  1.80    1.95  1.49    2.18  1.55
    256 rows a step (else 128)           1.77  1.69    1.87  1.84    1.84  1.46    2.12  1.56

240 answers of the domain were learnt from. After 3 s on 30 answers: 1.67 1.65 and 1.85 1.48; on 120: 1.78 1.80 and 2.10 1.53; on
480: 1.96 1.82 and 2.26 1.56. Orthogonalised updates (Muon) took twice as long to get as far.

Legend: M rows of a passage, K heads, H hidden size, S columns of the vocabulary looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.heads import DraftHeads
from trainer.in_training import InTraining, Pace
from trainer.lessons import Passage
from trainer.shortlist import Columns, Shortlist, softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Pace):
    """How a step is made."""

    learning_rate: float = 2e-3
    rows_per_step: int = 128
    depth_decay: float = 0.8


class Distiller(InTraining):
    """Trains heads slice by slice: `teach` adds the gradient of a passage, `step` moves the weights.

    `loss` is the KL in nats: mean over rows of the weighted sum over depths.
    """

    recipe: Recipe

    def __init__(self, heads: DraftHeads, shortlist: Shortlist, recipe: Recipe) -> None:
        super().__init__()
        self.shortlist = shortlist
        self.recipe = recipe
        self.restart(heads)

    @property
    def config(self) -> dict[str, int | float | str | bool]:
        return self.heads.config

    def restart(self, heads: DraftHeads) -> None:
        """Goes on with these heads, nothing remembered of the others. They are trained in place."""
        self.heads = heads.train().requires_grad_(True)
        self._begin(heads.named_parameters())

    def teach(self, passage: Passage) -> None:
        """Adds the gradient of a passage: one slice of work."""
        columns = self.shortlist.draw()
        states = self.heads.along(passage.hidden.float(), passage.tokens)  # [M, K, H]
        gradient, divergence = self._gradient(states.detach(), passage, columns)
        torch.autograd.backward(states, gradient)
        self._taught(len(passage), divergence)

    def _gradient(self, states: Tensor, passage: Passage, columns: Columns) -> tuple[Tensor, float]:
        """Gradient [M, K, H] of the summed loss at the heads' states [M, K, H], and that loss."""
        target_logits = columns.logits(passage.hidden)
        target, log_total = softmax(target_logits)
        certainty = torch.linalg.vecdot(target, target_logits) - log_total  # [M] minus the entropy
        gradient = torch.zeros_like(states)
        divergence = torch.zeros((), device=states.device)
        rows = torch.arange(len(passage), device=states.device)
        for head in range(states.shape[1]):
            # rows without enough rows behind them weigh nothing: leaving them out would make a new shape of every product
            weight = self.recipe.depth_decay**head * (passage.num_ahead > head)
            taught = (rows + head + 1).clamp_(max=len(passage) - 1)
            logits = columns.logits(states[:, head])
            probs, log_sum = softmax(logits)
            ahead = target[taught]
            similarity = torch.linalg.vecdot(ahead, logits) - log_sum
            divergence += (weight * (certainty[taught] - similarity)).sum()
            change = probs.sub_(ahead).mul_(weight.unsqueeze(-1)).to(columns.unembedding.dtype)
            gradient[:, head] = torch.mm(change, columns.unembedding).float()
        return gradient, divergence.item()
