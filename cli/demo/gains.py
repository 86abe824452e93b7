"""Gains: static against adaptive heads on the same answers, with paired bootstrap bounds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

RESAMPLES = 4000


class Pair(msgspec.Struct, frozen=True):
    """One answer, drafted for twice: how many verification steps it takes with either heads alone."""

    domain: str
    temperature: float
    looping: bool
    num_tokens: int
    """Tokens of the answer that steps emit: all but the first, which the prompt's own pass gives."""
    static_steps: int
    adaptive_steps: int


class Gain(msgspec.Struct, frozen=True):
    """Mean acceptance length (tokens per step, bonus token included) of both, and their ratio."""

    num_answers: int
    static: float
    adaptive: float
    ratio: float
    low: float
    """Ends of the 95 % interval of `ratio`, by bootstrap over answers: each resample keeps the two counts of
    an answer together."""
    high: float


def gain(pairs: Sequence[Pair]) -> Gain | None:
    """The gain over `pairs`; None when there is nothing to compare.

    A mean acceptance length is a ratio of sums, so that long answers weigh by their length.
    """
    counts = np.array([(p.num_tokens, p.static_steps, p.adaptive_steps) for p in pairs if p.num_tokens], np.float64)
    if not len(counts):
        return None
    tokens, static, adaptive = counts.sum(0).tolist()
    # a fixed seed: the same answers give the same bounds
    drawn = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    resampled = counts[drawn].sum(1)  # [RESAMPLES, 3]
    low, high = np.quantile(resampled[:, 1] / resampled[:, 2], (0.025, 0.975)).tolist()
    return Gain(len(counts), tokens / static, tokens / adaptive, static / adaptive, low, high)
