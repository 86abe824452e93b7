"""Gumbel noise from a hash, in plain torch."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def gumbel(seed: int, choice: int, position: int, vocab_size: int, device: torch.device) -> Tensor:
    """[V] float32 standard Gumbel noise for one output position.

    seed: any int64. Entry v is -log(-log(u)), u from 32 hashed bits of (seed, choice, position, v): the same on every
    device and in every batch. Adding it to log-probabilities and taking the argmax draws from them (the Gumbel-max trick).
    """
    first, second = _key(seed, choice, position)
    bits = _mix(_mix(_token_ids(vocab_size, device) ^ first) ^ second)
    # float64: in float32 the largest uniforms round to 1, whose noise is infinite
    uniform = (bits.double() + 0.5) * 2.0**-32
    return -(-uniform.log_()).log_().float()


@lru_cache(maxsize=8)
def _token_ids(vocab_size: int, device: torch.device) -> Tensor:
    return torch.arange(vocab_size, dtype=torch.int64, device=device)


def _key(seed: int, choice: int, position: int) -> tuple[int, int]:
    """Two 32-bit words from the counter, mixed as SplitMix64 does (Steele et al., 2014)."""
    state = 0
    for word in (seed, choice, position):
        state = _splitmix(state ^ (word & 0xFFFFFFFFFFFFFFFF))
    return state & _MASK, state >> 32


def _splitmix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return x ^ x >> 31


def _mix(x: Tensor) -> Tensor:
    """The 32-bit finaliser of MurmurHash3 (Appleby), elementwise on int64 holding 32 bits."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _MASK
    return x ^ (x >> 16)
