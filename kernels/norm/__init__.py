"""Root mean square norm."""

from __future__ import annotations

from torch import Tensor

from kernels.native import loaded, runs_natively
from kernels.norm import reference


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """[…, H]; see `reference.rms_norm`."""
    if not runs_natively(x):
        return reference.rms_norm(x, weight, eps)
    size = x.shape[-1]
    rows = x.reshape(-1, size)
    if rows.stride(1) != 1:
        rows = rows.contiguous()
    result = x.new_empty(x.shape)
    loaded().everdraft_rms_norm(
        rows.data_ptr(), rows.stride(0), rows.shape[0], size, weight.data_ptr(), eps, result.data_ptr()
    )
    return result


__all__ = ["rms_norm"]
