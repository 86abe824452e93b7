"""Rotary position embedding."""

from __future__ import annotations

from torch import Tensor

from kernels.native import loaded, runs_natively
from kernels.rope import reference
from kernels.rope.reference import rope_table


def apply_rope(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[T, A, D]; see `reference.apply_rope`."""
    if not runs_natively(heads):
        return reference.apply_rope(heads, cos, sin)
    num_rows, num_heads, dim = heads.shape
    if heads.stride(2) != 1 or heads.stride(1) != dim:
        heads = heads.contiguous()
    result = heads.new_empty(heads.shape)
    loaded().everdraft_rope(
        *(heads.data_ptr(), heads.stride(0), num_rows, num_heads, dim),
        *(cos.data_ptr(), sin.data_ptr(), result.data_ptr()),
    )
    return result


__all__ = ["apply_rope", "rope_table"]
