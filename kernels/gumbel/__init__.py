"""Counter-based Gumbel noise: a pure function of (seed, choice, position, token)."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.gumbel import reference
from kernels.gumbel.cpu import gumbel_cpu


def gumbel(seed: int, choice: int, position: int, vocab_size: int, device: torch.device) -> Tensor:
    """[V] float32; see `reference.gumbel`."""
    if device.type == "cpu":
        return torch.from_numpy(gumbel_cpu(seed, choice, position, vocab_size))
    return reference.gumbel(seed, choice, position, vocab_size, device)


__all__ = ["gumbel"]
