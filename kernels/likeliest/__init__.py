"""The likeliest tokens of each row of scores, and their probabilities."""

from __future__ import annotations

from torch import Tensor

from kernels.likeliest import reference
from kernels.likeliest.cpu import MOST, likeliest_cpu
from kernels.likeliest.reference import Likeliest
from kernels.native import runs_natively


def likeliest(logits: Tensor, count: int) -> Likeliest:
    """Tokens and probabilities [N, count]; see `reference.likeliest`."""
    if count <= MOST and runs_natively(logits):
        return likeliest_cpu(logits, count)
    return reference.likeliest(logits, count)


__all__ = ["Likeliest", "likeliest"]
