"""Few rows times a large weight, in C (`cpu.c`): for float32 on a CPU.

Measured for 12.6 M weights of the bundled target's shapes, all of them bfloat16 numbers, milliseconds on one core with matrix
tiles (median of 40, one run):

    rows                          1     2     6     8    12    16    24    32    64   256
    torch, rows @ weight        1.9   2.1   2.5   3.0   5.4   7.8   8.9  10.6  14.1  43.3
    panels of float32           2.0   2.1   2.2   2.9   3.2   4.3   5.7   7.5  13.0  42.3
    panels of bfloat16          1.0   1.0   1.1   1.8   2.2   3.2   4.8   5.9  12.1  44.1
    tiles                       1.3   1.2   1.3   1.3   1.4   1.5   2.2   2.5   4.7  17.6

(torch at 2 to 8 rows: between 2 and 9 from run to run, with what the shared cache holds.) Sixteen rows cost little more than one:
verification is nearly free, and reading half the bytes makes plain decoding itself faster. One layout serves all counts of
rows, since a row's result must be the same to the last bit whatever other rows are beside it; hence tiles for one row too, where
panels are a little faster. The products of tiles are at least as near to exact ones as torch's (root of mean squares).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kernels.native import has_tiles, loaded

Layout = Literal["float", "bfloat16", "tiles"]
"""How the numbers lie; the last two where all of them are bfloat16 numbers."""
_TILE_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Panels:
    """A weight laid out for the C kernel."""

    data: Tensor
    """In the order that `cpu.c` reads."""
    num_in: int
    num_out: int
    layout: Layout


def layouts(weight: Tensor) -> tuple[Layout, ...]:
    """The layouts that a float32 weight can have without loss, the fastest first."""
    if not bool((weight.contiguous().view(torch.int32) & 0xFFFF == 0).all()):
        return ("float",)
    return ("tiles", "bfloat16", "float") if has_tiles() else ("bfloat16", "float")


def pack_panels(weight: Tensor, layout: Layout | None = None) -> Panels:
    """From the float32 [out, in] of a checkpoint; layout: None for the fastest."""
    weight = weight.contiguous()
    layout = layout or layouts(weight)[0]
    num_out, num_in = weight.shape
    library = loaded()
    width, depth = int(library.everdraft_panel_width()), 1
    if layout == "tiles":
        width, depth = int(library.everdraft_tile_columns()), _TILE_DEPTH
    size = _up(num_out, width) * _up(num_in, depth)
    data = torch.empty(size, dtype=torch.float32 if layout == "float" else torch.bfloat16)
    getattr(library, f"everdraft_pack_{layout}")(weight.data_ptr(), num_out, num_in, data.data_ptr())
    return Panels(data, num_in, num_out, layout)


def unpack_panels(panels: Panels) -> Tensor:
    """[out, in] as it was packed."""
    return linear_panels(torch.eye(panels.num_in), panels).t().contiguous()


def replace_in_panels(panels: Panels, columns: Sequence[int], rows: Tensor) -> None:
    """See `kernels.linear.replace_rows`."""
    rows = rows.contiguous()
    assert rows.dtype == torch.float32
    assert rows.shape == (len(columns), panels.num_in)
    replace = getattr(loaded(), f"everdraft_replace_{panels.layout}")
    for column, row in zip(columns, rows, strict=True):
        assert 0 <= column < panels.num_out
        replace(panels.data.data_ptr(), panels.num_in, column, row.data_ptr())


def linear_panels(rows: Tensor, panels: Panels, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
    """[T, out] = added + (rows W + bias), from float32 rows [T, in], bias [out] and added [T, out]. Raises MemoryError."""
    rows = rows.contiguous()
    num_rows = rows.shape[0]
    assert rows.dtype == torch.float32
    assert rows.shape[1] == panels.num_in
    added = added.contiguous() if added is not None else None
    result = rows.new_empty((num_rows, panels.num_out))
    arguments = (
        *(rows.data_ptr(), num_rows, panels.num_in, panels.data.data_ptr(), panels.num_out),
        None if bias is None else bias.data_ptr(),
        None if added is None else added.data_ptr(),
        result.data_ptr(),
    )
    library, threads = loaded(), torch.get_num_threads()
    if panels.layout == "float":
        library.everdraft_linear_float(*arguments, threads)
    elif panels.layout == "bfloat16":
        library.everdraft_linear_bfloat16(*arguments, threads)
    elif library.everdraft_linear_tiles(*arguments, threads):
        raise MemoryError("linear: no memory for the rows as tiles")
    return result


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
