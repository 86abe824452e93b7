"""Ratios with their spread, from pairs: both sides of a pair did the same work, within moments of each other."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import msgspec
import numpy as np

RESAMPLES = 2000


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio, its 95 % bootstrap interval, and the extremes of what it was made from."""

    value: float
    lower: float
    upper: float
    low: float
    high: float
    num: int
    """How many pairs, answers or swaps it rests on."""


def median_ratio(numerators: Sequence[float], denominators: Sequence[float], seed: int = 0) -> Ratio:
    """The median of numerators[i] / denominators[i], measured as pairs; the interval is the median's."""
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    edge = RESAMPLES // 40
    return Ratio(
        value=statistics.median(ratios),
        lower=medians[edge - 1],
        upper=medians[-edge],
        low=min(ratios),
        high=max(ratios),
        num=len(ratios),
    )


def mean_of_medians(groups: Sequence[Sequence[float]], seed: int = 0) -> Ratio:
    """The mean over groups of the median of each, of ratios measured as pairs; every group is resampled by itself.

    Low and high are the extremes among the groups' medians.
    """
    rng = random.Random(seed)
    means = sorted(
        statistics.fmean(statistics.median(rng.choices(group, k=len(group))) for group in groups) for _ in range(RESAMPLES)
    )
    medians = [statistics.median(group) for group in groups]
    edge = RESAMPLES // 40
    return Ratio(
        value=statistics.fmean(medians),
        lower=means[edge - 1],
        upper=means[-edge],
        low=min(medians),
        high=max(medians),
        num=sum(map(len, groups)),
    )


Rate = tuple[float, float]
"""(amount, cost): tokens and steps, or tokens and seconds, of one answer."""


def ratio_of_sums(ours: Sequence[Rate], theirs: Sequence[Rate], seed: int = 0) -> Ratio:
    """Our amount per cost over theirs, both over all answers together, so that long answers weigh by their length.

    ours[i] and theirs[i] are the same answer; a resample keeps them together (paired bootstrap). Low and high are the extremes
    among single answers.
    """
    counts = np.array([(*our, *their) for our, their in zip(ours, theirs, strict=True)], np.float64)  # [A, 4]
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    lower, upper = np.quantile(_quotient(counts[drawn].sum(1)), (0.025, 0.975)).tolist()
    single = _quotient(counts)
    return Ratio(
        value=float(_quotient(counts.sum(0))),
        lower=lower,
        upper=upper,
        low=float(single.min()),
        high=float(single.max()),
        num=len(counts),
    )


def _quotient(counts: np.ndarray) -> np.ndarray:
    """[…] from [… , 4]: (our amount / our cost) / (their amount / their cost)."""
    quotient: np.ndarray = counts[..., 0] * counts[..., 3] / (counts[..., 1] * counts[..., 2])
    return quotient
