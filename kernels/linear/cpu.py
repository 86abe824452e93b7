"""Few rows times a large weight, in C (`cpu.c`): for float32 on a CPU.

Measured for 12.6 M weights of the bundled target's shapes, all of them bfloat16 numbers, milliseconds on one core (median of 40):

    rows                          1     2     4     6     8    16    32    64   256
    torch, rows @ weight        1.9   3.6   5.4   6.9   8.5   9.2  11.3  15.4  39.6
    panels of float32           1.9   2.3   2.9   4.0   4.3   6.1   8.9  13.1  40.6
    panels of bfloat16          1.0   1.0   1.0   1.1   1.7   2.8   6.3  11.5  40.2

Six rows cost what one costs: verification is nearly free, and reading half the bytes makes plain decoding itself faster.
A row's result is the same to the last bit whatever other rows are beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.native import loaded


@dataclass(frozen=True, slots=True)
class Panels:
    """A weight laid out for the C kernel."""

    data: Tensor
    """float32, or bfloat16 where that loses nothing; in the order that `cpu.c` reads."""
    num_in: int
    num_out: int


def pack_panels(weight: Tensor) -> Panels:
    """From the float32 [out, in] of a checkpoint."""
    weight = weight.contiguous()
    num_out, num_in = weight.shape
    library = loaded()
    width = int(library.everdraft_panel_width())
    exact = bool((weight.view(torch.int32) & 0xFFFF == 0).all())
    data = torch.empty(-(-num_out // width) * width * num_in, dtype=torch.bfloat16 if exact else torch.float32)
    pack = library.everdraft_pack_bfloat16 if exact else library.everdraft_pack_float
    pack(weight.data_ptr(), num_out, num_in, data.data_ptr())
    return Panels(data, num_in, num_out)


def unpack_panels(panels: Panels) -> Tensor:
    """[out, in] as it was packed."""
    return linear_panels(torch.eye(panels.num_in), panels).t().contiguous()


def replace_in_panels(panels: Panels, column: int, row: Tensor) -> None:
    """See `kernels.linear.replace_row`."""
    assert row.dtype == torch.float32 and row.is_contiguous() and row.shape == (panels.num_in,)
    assert 0 <= column < panels.num_out
    library = loaded()
    bfloat16 = panels.data.dtype == torch.bfloat16
    replace = library.everdraft_replace_bfloat16 if bfloat16 else library.everdraft_replace_float
    replace(panels.data.data_ptr(), panels.num_in, column, row.data_ptr())


def linear_panels(rows: Tensor, panels: Panels, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
    """[T, out] = added + (rows W + bias), from float32 rows [T, in], bias [out] and added [T, out]."""
    rows = rows.contiguous()
    num_rows = rows.shape[0]
    assert rows.shape[1] == panels.num_in
    assert rows.dtype == torch.float32
    result = rows.new_empty((num_rows, panels.num_out))
    library = loaded()
    bfloat16 = panels.data.dtype == torch.bfloat16
    product = library.everdraft_linear_bfloat16 if bfloat16 else library.everdraft_linear_float
    added = added.contiguous() if added is not None else None
    product(
        rows.data_ptr(),
        num_rows,
        panels.num_in,
        panels.data.data_ptr(),
        panels.num_out,
        None if bias is None else bias.data_ptr(),
        None if added is None else added.data_ptr(),
        result.data_ptr(),
        torch.get_num_threads(),
    )
    return result
