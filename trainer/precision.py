"""Precision: the number format a machine multiplies in fastest."""

from __future__ import annotations

import time

import torch

_WORTH_IT = 1.5
"""Speed-up from which the rounding of bfloat16 is worth it. With matrix units for it (AMX) it is 4 to 7 times faster
than float32 on one CPU thread; without, it is slower. Heads taught in it end within 1 % of those taught in float32."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where that is clearly faster, else float32; on a CPU by trying."""
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if _seconds(torch.float32) > _WORTH_IT * _seconds(torch.bfloat16) else torch.float32


def _seconds(dtype: torch.dtype) -> float:
    """The best of a few products of a slice's size."""
    rows, weight = torch.ones(64, 384, dtype=dtype), torch.ones(384, 1024, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        torch.mm(rows, weight)
        best = min(best, time.perf_counter() - started)
    return best
