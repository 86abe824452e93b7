"""Likeliest: the target's likeliest next tokens at every verified node, found when a source first asks for them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernels.likeliest import likeliest

COUNT = 8
"""Tokens of a node, as in Token Recycling (arXiv 2408.08696)."""


class Likeliest:
    """Of one step. logits: [N, V] the target's raw scores at the nodes of its drafts, in their order. To be asked before the
    next pass, which may write them anew."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    @property
    def tokens(self) -> NDArray[np.int32]:
        """[N, min(COUNT, V)] likeliest first."""
        return self._found[0]

    @property
    def probs(self) -> NDArray[np.float32]:
        """[N, min(COUNT, V)] at temperature 1, nothing excluded."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        return likeliest(self._logits, COUNT)
