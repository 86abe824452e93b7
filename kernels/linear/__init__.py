"""Products of few rows with a large weight: the hot spot of decoding on a CPU.

How a weight is packed decides who multiplies it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kernels.linear import reference
from kernels.linear.cpu import Panels, linear_panels, pack_panels, replace_in_panels, unpack_panels
from kernels.linear_int8 import (
    MOST_INPUTS,
    Int8Weight,
    QuantisedPanels,
    linear_int8,
    quantise_weight,
    replace_in_int8,
    unpack_int8,
)
from kernels.native import has_int8_tiles, runs_natively

Weight = Tensor | Panels | Int8Weight
"""A packed weight, of `pack_weight` or rounded by `quantise_weight`."""


def pack_weight(weight: Tensor) -> Weight:
    """From the [out, in] of a checkpoint, without loss."""
    return pack_panels(weight) if runs_natively(weight) else reference.pack_weight(weight)


def pack_light(weight: Tensor) -> Weight:
    """From the [out, in] of a checkpoint, for who only guesses, such as a drafter: rounded to what is least to read, 8 bits where
    the processor has tiles for them, else bfloat16."""
    if not runs_natively(weight):
        return reference.pack_weight(weight)
    if has_int8_tiles() and weight.shape[1] <= MOST_INPUTS:
        return quantise_weight(weight)
    return pack_panels(weight.bfloat16().float())


def unpack_weight(weight: Weight) -> Tensor:
    """[out, in] again, of the numbers that are multiplied with."""
    if isinstance(weight, Int8Weight):
        return unpack_int8(weight)
    return unpack_panels(weight) if isinstance(weight, Panels) else weight.t().contiguous()


def replace_rows(weight: Weight, indices: Sequence[int], rows: Tensor) -> None:
    """Rows `indices`, no one twice, of what was packed, [out, in], become `rows` [N, in], which are rounded if they were."""
    if isinstance(weight, Panels):
        replace_in_panels(weight, indices, rows if weight.layout == "float" else rows.bfloat16().float())
    elif isinstance(weight, QuantisedPanels):
        replace_in_int8(weight, indices, rows)
    else:
        assert isinstance(weight, Tensor)
        weight[:, list(indices)] = rows.t()


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


__all__ = [
    "Weight",
    "linear",
    "linear_add",
    "pack_light",
    "pack_weight",
    "quantise_weight",
    "replace_rows",
    "unpack_weight",
]
