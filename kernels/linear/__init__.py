"""Products of few rows with a large weight: the hot spot of decoding on a CPU.

How a weight is packed decides who multiplies it.
"""

from __future__ import annotations

from torch import Tensor

from kernels.linear import reference
from kernels.linear.cpu import Panels, linear_panels, pack_panels, replace_in_panels, unpack_panels
from kernels.native import runs_natively

Weight = Tensor | Panels
"""A packed weight."""


def pack_weight(weight: Tensor) -> Weight:
    """From the [out, in] of a checkpoint."""
    return pack_panels(weight) if runs_natively(weight) else reference.pack_weight(weight)


def unpack_weight(weight: Weight) -> Tensor:
    """[out, in] again."""
    return unpack_panels(weight) if isinstance(weight, Panels) else weight.t().contiguous()


def replace_row(weight: Weight, index: int, row: Tensor) -> None:
    """Row `index` of what was packed, [out, in], becomes `row` [in]: of the same numbers, bfloat16 where the others are."""
    if isinstance(weight, Panels):
        replace_in_panels(weight, index, row)
    else:
        weight[:, index] = row


def linear(rows: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
    """[T, out] from rows [T, in] and a packed weight."""
    if isinstance(weight, Panels):
        return linear_panels(rows, weight, bias)
    return reference.linear(rows, weight, bias)


def linear_add(residual: Tensor, rows: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
    """residual + linear(rows, weight, bias), [T, out], in one pass over the result."""
    if isinstance(weight, Panels):
        return linear_panels(rows, weight, bias, residual)
    return reference.linear_add(residual, rows, weight, bias)


__all__ = ["Weight", "linear", "linear_add", "pack_weight", "replace_row", "unpack_weight"]
