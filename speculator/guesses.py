"""Guesses: which tokens the target will choose, by the scores of a drafter that knows the noise of the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from kernels.candidates import Noise, candidates
from speculator.batch import Sampling
from speculator.law import noise_of, process

Choice = tuple[Sampling, int]
"""How the target will choose, and the output position it chooses for."""


def guesses(
    logits: Tensor, choices: Sequence[Choice], count: int, ids: Tensor | None = None
) -> tuple[list[list[int]], list[list[float]]]:
    """[N][count] tokens and chances, likeliest first, of scores [N, V], which may be written to.

    ids: the tokens that the columns stand for, where that is not all of them in order. See `kernels.candidates`.
    """
    noise: list[Noise | None] = []
    for row, (sampling, position) in enumerate(choices):
        key = noise_of(sampling, position)
        if key is not None and sampling.filtered:
            logits[row] = process(logits[row], sampling)
            key = replace(key, temperature=1.0)
        noise.append(key)
    return candidates(logits, count, noise, ids)
