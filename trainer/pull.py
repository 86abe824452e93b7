"""Pull: where a model's states should go, to give the target's own distribution. The gradient of the loss, written out.

Legend: N rows taught, D hidden size of the model, H that of the target, S columns of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.shortlist import Columns, softmax

_CHUNK = 1 << 21
"""Scores worked on at once: 8 MB of float32."""


@dataclass(frozen=True, slots=True)
class Pull:
    """Where states should go, to make what the target would."""

    at_states: Tensor
    """[N, D] gradient of the summed loss."""
    at_own: Tensor
    """[S, D] float32: the same at the columns of the model's own vocabulary."""
    divergence: float
    """KL(target || model), summed over rows."""


def pulled(
    states: Tensor, hidden: Tensor, own: Columns, columns: Columns, *, hybrid: float = 0.0, weight: Tensor | None = None
) -> Pull:
    """states: [N, D] of a model, scored with its `own` columns; hidden: [N, H] of the target, with its `columns`.

    weight: [N] of each row's loss; None: 1.
    """
    at_states, at_own = torch.empty_like(states), torch.zeros(own.unembedding.shape, device=states.device)
    divergence = torch.zeros((), device=states.device)
    size = max(1, _CHUNK // len(own.unembedding))
    for start in range(0, len(states), size):
        part = slice(start, start + size)
        change, divergences = gradient_at(own.logits(states[part]), columns.logits(hidden[part]), hybrid)
        if weight is not None:
            change, divergences = change * weight[part, None], divergences * weight[part]
        divergence += divergences.sum()
        change = change.to(states.dtype)
        at_states[part] = torch.mm(change, own.unembedding)
        at_own += torch.mm(change.t(), states[part])
    return Pull(at_states, at_own, divergence.item())


def gradient_at(logits: Tensor, target_logits: Tensor, hybrid: float) -> tuple[Tensor, Tensor]:
    """The gradient of each row's loss at the draft's logits [N, S], and each row's KL(target || draft) [N]."""
    target, target_total = softmax(target_logits)
    probs, total = softmax(logits)
    divergence = torch.linalg.vecdot(target, target_logits - logits) - target_total + total
    if not hybrid:
        return probs.sub_(target), divergence
    short = probs < target
    overlap = torch.minimum(probs, target).sum(-1, keepdim=True)
    mine = (probs * short).sum(-1, keepdim=True)
    variation = probs * (mine - short.float())  # of 1 - overlap, through the softmax
    share = torch.exp(-hybrid * overlap)
    return share * (probs - target) + (1 - share) * variation, divergence
