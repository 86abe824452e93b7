"""The likeliest tokens of each row, in plain torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Likeliest = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Tokens and probabilities, [N, C] each, likeliest first, in the CPU's memory."""


def likeliest(logits: Tensor, count: int) -> Likeliest:
    """The `count` tokens of each row of scores [N, V] with the greatest probability; all V where there are no more.

    Where scores are such that probabilities are no numbers, these are 0, and the tokens any.
    """
    top = logits.float().softmax(-1).topk(min(count, logits.shape[-1]))
    tokens: NDArray[np.int32] = top.indices.int().cpu().numpy()
    probs: NDArray[np.float32] = top.values.nan_to_num(0.0).cpu().numpy()
    return tokens, probs
