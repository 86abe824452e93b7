"""Rows times a weight of 8-bit numbers, in C (`cpu.c`): for float32 rows on a CPU.

Measured for 12.6 M weights of the bundled target's shapes, milliseconds on one core (the best of some hundred, on a machine that
others kept busy; `kernels/linear/cpu.py` has its tiles on a quiet one):

    rows                          1     2     4     8    12    16    24    32    64   256
    float32 rows, tiles         1.3   1.3   1.4   1.6   2.0   2.1   3.0   5.7   8.7    34
    these, tiles                0.6   0.7   0.7   0.7   0.9   0.9   1.2   1.4   2.3    12
    these, vectors (VNNI)       0.7   0.7   1.0   1.7   2.6   3.8   5.8   7.3    14    63

Reading half the bytes halves the time of few rows; many go through tiles in two parts of which each holds twice as many inputs,
in place of three. Without tiles one row is as fast, and prompts are slower than in float32. Without byte products (VNNI) either,
int8 saves memory alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import addressof, c_int64
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kernels.linear_int8.reference import MOST_INPUTS
from kernels.native import has_int8_tiles, loaded

Means = Literal["tiles", "vectors"]
_DEPTH, _TILES, _COLUMNS = 64, 2, 16
"""Inputs of a step; tiles of a panel; outputs of a tile."""


@dataclass(frozen=True, slots=True)
class QuantisedPanels:
    """A weight laid out for the C kernel; outputs that are too many are zero."""

    data: Tensor
    """int8 [panels, steps, 2 tiles, 16 fours of inputs, 16 outputs, 4 inputs]"""
    scales: Tensor
    """float32, for each output of the panels."""
    offsets: Tensor
    """int32, for each output of the panels: what rows made positive by 2^15 have too much in their upper bytes."""
    num_in: int
    num_out: int
    means: Means
    """What multiplies. The numbers are the same, and where they lie."""


def pack_panels(weight: Tensor, means: Means | None = None) -> QuantisedPanels:
    """From the [out, in] of a checkpoint; means: None for the faster one of this processor."""
    num_out, num_in = weight.shape
    assert num_in <= MOST_INPUTS
    weight = weight.float().contiguous()
    num_panels, num_steps = -(-num_out // (_TILES * _COLUMNS)), -(-num_in // _DEPTH)
    data = torch.zeros((num_panels, num_steps, _TILES, _DEPTH // 4, _COLUMNS, 4), dtype=torch.int8)
    scales = torch.zeros(num_panels * _TILES * _COLUMNS)
    offsets = torch.zeros(len(scales), dtype=torch.int32)
    loaded().everdraft_pack_int8(
        weight.data_ptr(), num_out, num_in, data.data_ptr(), scales.data_ptr(), offsets.data_ptr()
    )
    return QuantisedPanels(data, scales, offsets, num_in, num_out, means or ("tiles" if has_int8_tiles() else "vectors"))


def unpack_panels(panels: QuantisedPanels) -> Tensor:
    """[out, in], rounded."""
    numbers = panels.data.permute(0, 2, 4, 1, 3, 5).reshape(len(panels.scales), -1)
    return (numbers * panels.scales.unsqueeze(1))[: panels.num_out, : panels.num_in].contiguous()


def replace_in_int8(panels: QuantisedPanels, columns: Sequence[int], rows: Tensor) -> None:
    """Columns `columns` become `rows` [N, in], rounded as by `pack_panels`."""
    rows = rows.contiguous()
    assert rows.dtype == torch.float32
    assert rows.shape == (len(columns), panels.num_in)
    assert all(0 <= column < panels.num_out for column in columns)
    where = (c_int64 * len(columns))(*columns)
    loaded().everdraft_replace_int8(
        *(panels.data.data_ptr(), panels.num_in, addressof(where), len(columns), rows.data_ptr()),
        *(panels.scales.data_ptr(), panels.offsets.data_ptr()),
    )


def linear_panels(rows: Tensor, panels: QuantisedPanels, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
    """See `reference.linear`. Raises MemoryError."""
    rows = rows.contiguous()
    num_rows = rows.shape[0]
    assert rows.dtype == torch.float32
    assert rows.shape[1] == panels.num_in
    added = added.contiguous() if added is not None else None
    result = rows.new_empty((num_rows, panels.num_out))
    failed = loaded().everdraft_linear_int8(
        *(rows.data_ptr(), num_rows, panels.num_in),
        *(panels.data.data_ptr(), panels.scales.data_ptr(), panels.offsets.data_ptr(), panels.num_out),
        None if bias is None else bias.data_ptr(),
        None if added is None else added.data_ptr(),
        result.data_ptr(),
        panels.means == "tiles",
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("linear: no memory for the rows in 16 bits")
    return result
