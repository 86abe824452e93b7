"""A packed weight as C reads it (`weight.h`)."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.linear import Weight
from kernels.linear.cpu import Panels
from kernels.linear_int8 import QuantisedPanels

_LAYOUTS = {"float": 0, "bfloat16": 1, "tiles": 2}
_MEANS = {"vectors": 3, "tiles": 4}


def panels_of(weight: Weight) -> Panels | QuantisedPanels:
    """The weight, which must be packed for C."""
    assert isinstance(weight, Panels | QuantisedPanels), "packed for torch"
    return weight


def address_of(tensor: Tensor | None) -> int:
    """Where the float32 numbers lie; 0: there are none."""
    assert tensor is None or (tensor.dtype == torch.float32 and tensor.is_contiguous())
    return 0 if tensor is None else tensor.data_ptr()


def weight_row(weight: Weight, bias: Tensor | None = None) -> list[int]:
    """The struct `weight`. Whoever hands it to C keeps weight and bias alive."""
    panels = panels_of(weight)
    if isinstance(panels, Panels):
        layout, scales, offsets = _LAYOUTS[panels.layout], 0, 0
    else:
        layout, scales, offsets = _MEANS[panels.means], panels.scales.data_ptr(), panels.offsets.data_ptr()
    return [layout, panels.data.data_ptr(), panels.num_in, panels.num_out, address_of(bias), scales, offsets]
