"""Rotary position embedding (RoFormer, arXiv 2104.09864) in the half-split layout of the Llama checkpoints, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def rope_table(frequencies: Tensor, num_positions: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines, both [P, D], for frequencies [D / 2] in radians per position.

    The sine's first half carries the minus sign of the rotation, so that `apply_rope` needs no negation.
    """
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float32, device=frequencies.device), frequencies)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def apply_rope(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[T, A, D] heads turned by their rows' angles; cos, sin: [T, 1, D] rows of `rope_table`."""
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), sin)
