"""Products of few rows with a large weight: the hot spot of decoding on a CPU.

How a weight is packed decides who multiplies it.
"""

from __future__ import annotations

from torch import Tensor

from kernels.linear import reference
from kernels.linear.cpu import Panels, linear_panels, pack_panels, replace_in_panels, unpack_panels
from kernels.linear_int8 import Int8Weight, linear_int8, quantise_weight, unpack_int8
from kernels.native import runs_natively

FloatWeight = Tensor | Panels
"""A packed weight, without loss."""
Weight = FloatWeight | Int8Weight
"""A packed weight, of `pack_weight` or rounded by `quantise_weight`."""


def pack_weight(weight: Tensor) -> FloatWeight:
    """From the [out, in] of a checkpoint."""
    return pack_panels(weight) if runs_natively(weight) else reference.pack_weight(weight)


def unpack_weight(weight: Weight) -> Tensor:
    """[out, in] again, of the numbers that are multiplied with."""
    if isinstance(weight, Int8Weight):
        return unpack_int8(weight)
    return unpack_panels(weight) if isinstance(weight, Panels) else weight.t().contiguous()


def replace_row(weight: FloatWeight, index: int, row: Tensor) -> None:
    """Row `index` of what was packed, [out, in], becomes `row` [in]: of the same numbers, bfloat16 where the others are."""
    if isinstance(weight, Panels):
        replace_in_panels(weight, index, row)
    else:
        weight[:, index] = row


def linear(rows: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
    """[T, out] from rows [T, in] and a packed weight."""
    if isinstance(weight, Panels):
        return linear_panels(rows, weight, bias)
    if isinstance(weight, Int8Weight):
        return linear_int8(rows, weight, bias)
    return reference.linear(rows, weight, bias)


def linear_add(residual: Tensor, rows: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
    """residual + linear(rows, weight, bias), [T, out], in one pass over the result."""
    if isinstance(weight, Panels):
        return linear_panels(rows, weight, bias, residual)
    if isinstance(weight, Int8Weight):
        return linear_int8(rows, weight, bias, residual)
    return reference.linear_add(residual, rows, weight, bias)


__all__ = ["FloatWeight", "Weight", "linear", "linear_add", "pack_weight", "quantise_weight", "replace_row", "unpack_weight"]
