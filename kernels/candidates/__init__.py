"""The likeliest tokens of each row, given the noise that the target will add."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kernels.candidates import reference
from kernels.candidates.cpu import MOST, candidates_cpu
from kernels.candidates.reference import Best, Noise
from kernels.native import runs_natively


def candidates(logits: Tensor, count: int, noise: Sequence[Noise | None], ids: Tensor | None = None) -> Best:
    """[N][count] tokens and chances; see `reference.candidates`."""
    if count <= MOST and runs_natively(logits):
        return candidates_cpu(logits, count, noise, ids)
    return reference.candidates(logits, count, noise, ids)


__all__ = ["Best", "Noise", "candidates"]
