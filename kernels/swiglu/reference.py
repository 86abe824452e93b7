"""SwiGLU's gate (arXiv 2002.05202), in plain torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def swiglu(gate_up: Tensor) -> Tensor:
    """[T, I] SiLU of the first half times the second half of gate_up [T, 2 I]."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up
