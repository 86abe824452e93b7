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

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.heads import MedusaHeads
from trainer.lessons import Passage
from trainer.shortlist import Columns, Shortlist, softmax


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a step is made."""

    learning_rate: float = 2e-3
    depth_decay: float = 0.8
    rows_per_step: int = 128
    max_norm: float = 1.0
    """Gradients are clipped to this norm."""
    warmup_steps: int = 10
    averaging: float = 0.98
    """Weight the running mean of the weights keeps with each step; the mean is what is judged and published."""


class Distiller:
    """Trains heads slice by slice: `teach` adds the gradient of a passage, `step` moves the weights.

    A step whose gradient or loss is not finite changes nothing and is counted in `num_skipped`.
    """

    def __init__(self, heads: MedusaHeads, shortlist: Shortlist, recipe: Recipe) -> None:
        self.shortlist = shortlist
        self.recipe = recipe
        self.num_steps = 0
        self.num_skipped = 0
        self.loss = 0.0
        """KL of the last step in nats: mean over rows of the weighted sum over depths."""
        self.restart(heads)

    @property
    def ready(self) -> bool:
        """Whether a step's worth of rows is there."""
        return self._rows >= self.recipe.rows_per_step

    @property
    def num_tries(self) -> int:
        """Steps made or skipped."""
        return self.num_steps + self.num_skipped

    def restart(self, heads: MedusaHeads) -> None:
        """Goes on with these heads, nothing remembered of the others. They are trained in place."""
        self.heads = heads.train().requires_grad_(True)
        self.age = 0
        """Steps since the last restart."""
        self.skipped_in_a_row = 0
        self._rows, self._divergence = 0, 0.0
        self._mean = {name: weight.detach().clone() for name, weight in heads.named_parameters()}
        # fused: 0.6 ms for 0.6 M weights on one CPU thread, against 4.2 ms
        self._optimizer = torch.optim.AdamW(
            heads.parameters(), self.recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        for weight in heads.parameters():
            self._optimizer.state[weight] = {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def teach(self, passage: Passage) -> None:
        """Adds the gradient of a passage: one slice of work."""
        columns = self.shortlist.draw()
        states: Tensor = self.heads(passage.hidden.float())  # [M, K, H]
        gradient, divergence = self._gradient(states.detach(), passage, columns)
        torch.autograd.backward(states, gradient)
        self._rows += len(passage)
        self._divergence += divergence

    @torch.no_grad()
    def step(self) -> bool:
        """Moves the weights by what was taught since the last step; False: not finite, nothing moved."""
        weights = list(self.heads.parameters())
        for weight in weights:
            if weight.grad is not None:
                weight.grad /= self._rows
        norm = torch.nn.utils.clip_grad_norm_(weights, self.recipe.max_norm)
        loss = self._divergence / self._rows
        self._rows, self._divergence = 0, 0.0
        finite = math.isfinite(norm) and math.isfinite(loss)
        if finite:
            self._move(loss)
            self.skipped_in_a_row = 0
        else:
            self.num_skipped += 1
            self.skipped_in_a_row += 1
        self._optimizer.zero_grad()
        return finite

    def averaged(self) -> dict[str, Tensor]:
        """Copies of the running mean of the weights: what is judged and published."""
        return {name: tensor.clone() for name, tensor in self._mean.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that a later life needs to go on from here, but `age`."""
        held: dict[str, Tensor] = {}
        for name, weight in self.heads.named_parameters():
            for kind, tensor in self._kinds(name, weight).items():
                held[f"{kind}.{name}"] = tensor.detach()
        return held

    @torch.no_grad()
    def resume(self, tensors: Mapping[str, Tensor], age: int) -> None:
        """Goes on from what `tensors` gave, for heads of the same shape. Raises KeyError or RuntimeError otherwise."""
        for name, weight in self.heads.named_parameters():
            for kind, tensor in self._kinds(name, weight).items():
                tensor.copy_(tensors[f"{kind}.{name}"])
            self._optimizer.state[weight]["step"].fill_(age)
        self.age = age

    def _kinds(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        moments = self._optimizer.state[weight]
        return {
            "weight": weight,
            "mean": self._mean[name],
            "moment1": moments["exp_avg"],
            "moment2": moments["exp_avg_sq"],
        }

    def _move(self, loss: float) -> None:
        recipe = self.recipe
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (self.age + 1) / recipe.warmup_steps)
        self._optimizer.step()
        self.age += 1
        self.num_steps += 1
        self.loss = loss
        # a mean over the steps there are, until there are more than it remembers
        keep = min(recipe.averaging, self.age / (self.age + 9))
        for name, weight in self.heads.named_parameters():
            self._mean[name].lerp_(weight, 1 - keep)

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
