"""SwiGLU's gate."""

from __future__ import annotations

from torch import Tensor

from kernels.native import loaded, runs_natively
from kernels.swiglu import reference


def swiglu(gate_up: Tensor) -> Tensor:
    """[T, I]; see `reference.swiglu`."""
    if not runs_natively(gate_up):
        return reference.swiglu(gate_up)
    gate_up = gate_up.contiguous()
    num_rows, double = gate_up.shape
    result = gate_up.new_empty((num_rows, double // 2))
    loaded().everdraft_swiglu(gate_up.data_ptr(), num_rows, double // 2, result.data_ptr())
    return result


__all__ = ["swiglu"]
