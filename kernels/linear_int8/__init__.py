"""Products of float32 rows with a weight of 8-bit numbers."""

from __future__ import annotations

from torch import Tensor

from kernels.linear_int8 import reference
from kernels.linear_int8.cpu import QuantisedPanels, linear_panels, pack_panels, replace_in_int8, unpack_panels
from kernels.linear_int8.reference import MOST_INPUTS, Quantised
from kernels.native import runs_natively

Int8Weight = Quantised | QuantisedPanels


def quantise_weight(weight: Tensor) -> Int8Weight:
    """From the float32 [out, in] of a checkpoint, which may have `MOST_INPUTS` inputs."""
    return pack_panels(weight) if runs_natively(weight) else reference.pack_weight(weight)


def unpack_int8(weight: Int8Weight) -> Tensor:
    """[out, in], rounded."""
    return unpack_panels(weight) if isinstance(weight, QuantisedPanels) else reference.unpack_weight(weight)


def linear_int8(rows: Tensor, weight: Int8Weight, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
    """See `reference.linear`."""
    if isinstance(weight, QuantisedPanels):
        return linear_panels(rows, weight, bias, added)
    return reference.linear(rows, weight, bias, added)


__all__ = [
    "MOST_INPUTS",
    "Int8Weight",
    "QuantisedPanels",
    "linear_int8",
    "quantise_weight",
    "replace_in_int8",
    "unpack_int8",
]
