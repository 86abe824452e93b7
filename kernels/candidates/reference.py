"""The likeliest tokens of each row, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.gumbel import gumbel


@dataclass(frozen=True, slots=True)
class Noise:
    """Which noise a choice of the target will be made with: the key of `kernels.gumbel`, and the temperature."""

    temperature: float
    seed: int
    choice: int
    position: int
    """Of the token in the output."""


Best = tuple[list[list[int]], list[list[float]]]
"""Tokens and chances, [N][C], likeliest first."""


def candidates(logits: Tensor, count: int, noise: Sequence[Noise | None], ids: Tensor | None = None) -> Best:
    """The `count` tokens of each row that a model with these scores [N, V] thinks the target will choose.

    Where scores are such that chances are no numbers, these are 0, and the tokens any.

    ids: [V] int32, the tokens that the columns stand for, where that is not all of them in order.
    noise: [N]; None: the choice is greedy, and a token's chance is its probability. Else the target will choose
    argmax(log p + noise), and the noise is known before p is: the best guess is argmax(log q + noise), right more often
    than the likeliest token of q. (Coupling without communication, arXiv 2408.07978: two who share the noise draw the same
    token with probability at least (1 - d) / (1 + d), d the total variation between p and q.) A chance is then the softmax
    of the noisy scores: its order is right, its size is for the caller to calibrate.
    """
    scores = logits.float()
    if any(noise):
        scores = torch.stack([_noisy(row, key, ids) for row, key in zip(scores, noise, strict=True)])
    top = scores.softmax(-1).topk(min(count, logits.shape[-1]))
    tokens = top.indices if ids is None else ids[top.indices]
    return tokens.tolist(), top.values.nan_to_num(0.0).tolist()


def _noisy(row: Tensor, noise: Noise | None, ids: Tensor | None) -> Tensor:
    if noise is None:
        return row
    size = len(row) if ids is None else int(ids.max()) + 1
    drawn = gumbel(noise.seed, noise.choice, noise.position, size, row.device)
    return row / noise.temperature + (drawn if ids is None else drawn[ids])
