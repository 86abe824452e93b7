"""Counter-based Gumbel noise: a pure function of (seed, choice, position, token)."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.gumbel import reference
from kernels.gumbel.cpu import chosen_cpu, gumbel_cpu
from kernels.native import runs_natively


def gumbel(seed: int, choice: int, position: int, vocab_size: int, device: torch.device) -> Tensor:
    """[V] float32; see `reference.gumbel`."""
    if device.type == "cpu":
        return torch.from_numpy(gumbel_cpu(seed, choice, position, vocab_size))
    return reference.gumbel(seed, choice, position, vocab_size, device)


def chosen(logits: Tensor, temperature: float, seed: int, choice: int, position: int) -> int:
    """The token with the highest score, noise included, of float32 [V]: see `reference.scores`."""
    if runs_natively(logits) and logits.is_contiguous():
        return chosen_cpu(logits, temperature, seed, choice, position)
    scores = reference.scores(logits, temperature, gumbel(seed, choice, position, logits.shape[-1], logits.device))
    return int(scores.numpy().argmax() if scores.device.type == "cpu" else scores.argmax())


__all__ = ["chosen", "gumbel"]
