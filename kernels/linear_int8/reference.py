"""Rows times a weight of 8-bit numbers, in plain torch: what `cpu.c` computes, to the last bit.

A weight's numbers are rounded to 8 bits, with a scale for each output; a row's, when it comes, to 16 bits, with a scale for each
row. The products are then of integers, whose sums come out the same in any order, and only the end is float32. Sixteen bits for
rows, since eight cost more in quality than the weight's own rounding does (`LOG.md`) and the second byte is nearly free: what
takes the time is reading the weight.

Legend: T rows, I inputs, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_INPUTS = 65536
"""So that a sum of 255 times 127 stays below 2^31."""
MOST_WEIGHT, MOST_ROW = 127, 32767
SMALLEST = 1e-30
"""What the largest number of a row or an output counts as, at least: a scale of nothing would divide by it."""
_EXACT_INPUTS = 512
"""Sums of so many times 255 times 127 stay below 2^24, where float32 counts without rounding."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A weight: number [o, i] of what was packed is numbers[i, o] * scales[o], to within half a scale."""

    numbers: Tensor
    """[I, O] whole numbers of at most 127, in float32, since plain torch multiplies no others fast."""
    scales: Tensor
    """[O] float32"""


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [O, I] and scales [O] of a weight [O, I]: to the nearest, symmetric about zero."""
    weight = weight.float()
    scales = weight.abs().amax(1).clamp_min(SMALLEST) / MOST_WEIGHT
    return (weight / scales.unsqueeze(1)).round().to(torch.int8), scales


def quantise_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of at most 32767 as float32 [T, I], and scales [T, 1], of float32 rows."""
    most = rows.abs().amax(1, keepdim=True).clamp_min(SMALLEST)
    up = torch.full_like(most, MOST_ROW) / most  # a number over a tensor would be rounded twice: reciprocal, then product
    return (rows * up).round(), most / MOST_ROW


def pack_weight(weight: Tensor) -> Quantised:
    """From the [O, I] of a checkpoint."""
    numbers, scales = quantise(weight)
    return Quantised(numbers.t().float().contiguous(), scales)


def unpack_weight(weight: Quantised) -> Tensor:
    """[O, I], rounded."""
    return (weight.numbers * weight.scales).t().contiguous()


def linear(rows: Tensor, weight: Quantised, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
    """[T, O] = added + (rows W + bias), from float32 rows [T, I], bias [O] and added [T, O]."""
    numbers, scales = quantise_rows(rows)
    high = (numbers / 256).floor()
    low = numbers - 256 * high
    product = (_sums(high, weight) * 256 + _sums(low, weight)) * (weight.scales * scales)
    if bias is not None:
        product = product + bias
    return product if added is None else added + product


def _sums(numbers: Tensor, weight: Quantised) -> Tensor:
    """[T, O] of whole numbers of at most 8 bits, exact but for the one rounding to float32 at the end."""
    pieces = zip(torch.split(numbers, _EXACT_INPUTS, 1), torch.split(weight.numbers, _EXACT_INPUTS), strict=True)
    return torch.stack([(left @ right).double() for left, right in pieces]).sum(0).float()
