"""Few rows times a large weight, in plain torch.

Weights are stored [in, out] and multiplied from the right. Measured for 12.6 M float32 weights of the bundled target's shapes,
milliseconds on two cores (median of 30; the plain product of one row is bound by reading the weights):

    rows                          1     2     4     8    16    32    64
    F.linear, [out, in]         1.0   1.0   1.6   1.9   2.4   3.5   5.3
    weight @ rows.T, [out, in]  1.0   1.7   1.7   1.7   1.7   2.6   5.6
    rows @ weight, [in, out]    1.0   1.0   1.1   1.2   1.9   3.0   5.3

On one core eight rows cost four times what one costs in any of these layouts: see `cpu.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack_weight(weight: Tensor) -> Tensor:
    """[in, out] contiguous, from the [out, in] of a checkpoint."""
    return weight.t().contiguous()


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[T, out] from rows [T, in] and a packed weight [in, out]."""
    return torch.mm(rows, weight) if bias is None else torch.addmm(bias, rows, weight)


def linear_add(residual: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """residual + linear(rows, weight, bias), [T, out], in one pass over the result."""
    out = torch.addmm(residual, rows, weight)
    return out if bias is None else out + bias
