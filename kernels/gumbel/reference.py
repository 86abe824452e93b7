"""Gumbel noise from a hash, in plain torch."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from kernels.gumbel.key import MASK, MIX_FIRST, MIX_SECOND, keys


def gumbel(seed: int, choice: int, position: int, vocab_size: int, device: torch.device) -> Tensor:
    """[V] float32 standard Gumbel noise for one output position.

    seed: any int64. Entry v is -log(-log(u)), u from 32 hashed bits of (seed, choice, position, v): the same on every device and
    in every batch. Adding it to log-probabilities and taking the argmax draws from them (the Gumbel-max trick).
    """
    stream, here = keys(seed, choice, position)
    bits = _mix(_mix(_token_ids(vocab_size, device) ^ stream) ^ here)
    # float64: in float32 the largest uniforms round to 1, whose noise is infinite
    uniform = (bits.double() + 0.5) * 2.0**-32
    return -(-uniform.log_()).log_().float()


def scores(logits: Tensor, temperature: float, noise: Tensor) -> Tensor:
    """[V] float32 whose argmax draws from the softmax of logits [V] / temperature; written to `noise` [V]."""
    return noise.add_(logits / temperature)


@lru_cache(maxsize=8)
def _token_ids(vocab_size: int, device: torch.device) -> Tensor:
    return torch.arange(vocab_size, dtype=torch.int64, device=device)


def _mix(x: Tensor) -> Tensor:
    """The 32-bit finaliser of MurmurHash3 (Appleby), elementwise on int64 holding 32 bits."""
    x = (x ^ (x >> 16)) * MIX_FIRST & MASK
    x = (x ^ (x >> 13)) * MIX_SECOND & MASK
    return x ^ (x >> 16)
