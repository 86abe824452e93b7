"""Ratios and their intervals, against arithmetic spelt out."""

from __future__ import annotations

import random
import statistics

import numpy as np
import pytest

from bench.ratios import RESAMPLES, mean_of_medians, median_ratio, ratio_of_sums


def test_a_median_ratio_is_that_of_a_naive_bootstrap() -> None:
    rng = random.Random(1)
    above, below = ([rng.uniform(1, 3) for _ in range(11)] for _ in range(2))
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    again, medians = random.Random(0), []
    for _ in range(RESAMPLES):
        medians.append(statistics.median([again.choice(ratios) for _ in ratios]))
    medians.sort()
    found = median_ratio(above, below)
    assert found.value == statistics.median(ratios)
    assert (found.low, found.high, found.num) == (min(ratios), max(ratios), 11)
    # 2.5 % of the medians lie below the interval and 2.5 % above
    assert sum(median < found.lower for median in medians) <= RESAMPLES * 0.025 <= sum(m <= found.lower for m in medians)
    assert sum(median > found.upper for median in medians) <= RESAMPLES * 0.025 <= sum(m >= found.upper for m in medians)


def test_one_wild_pair_does_not_move_the_median() -> None:
    calm = [2.0] * 11
    assert median_ratio([*calm, 900.0], [1.0] * 12).value == 2.0
    assert median_ratio([*calm, 900.0], [1.0] * 12).high == 900.0


def test_a_ratio_of_sums_is_that_of_a_naive_bootstrap() -> None:
    rng = random.Random(2)
    ours = [(rng.uniform(10, 90), rng.uniform(5, 40)) for _ in range(9)]
    theirs = [(rng.uniform(10, 90), rng.uniform(5, 40)) for _ in range(9)]

    def quotient(indices: list[int]) -> float:
        rate = [sum(side[at][0] for at in indices) / sum(side[at][1] for at in indices) for side in (ours, theirs)]
        return rate[0] / rate[1]

    drawn = np.random.default_rng(0).integers(9, size=(RESAMPLES, 9)).tolist()
    lower, upper = np.quantile([quotient(indices) for indices in drawn], (0.025, 0.975))
    found = ratio_of_sums(ours, theirs)
    assert found.value == pytest.approx(quotient(list(range(9))))
    assert (found.lower, found.upper) == pytest.approx((lower, upper))
    singles = [quotient([at]) for at in range(9)]
    assert (found.low, found.high) == pytest.approx((min(singles), max(singles)))


def test_long_answers_weigh_by_their_length() -> None:
    found = ratio_of_sums([(100, 20), (2, 2)], [(100, 100), (2, 2)])
    assert found.value == pytest.approx(102 / 22)


def test_resamples_keep_the_two_sides_of_an_answer_together() -> None:
    # every answer takes half the steps, whatever its length: pulled apart, the two sides would vary by their lengths
    lengths = [3, 500, 20, 7, 90, 1, 250]
    found = ratio_of_sums([(n, n / 2) for n in lengths], [(n, n) for n in lengths])
    assert (found.lower, found.upper) == pytest.approx((2.0, 2.0))


def test_every_group_counts_the_same_in_a_mean_however_many_pairs_it_has() -> None:
    found = mean_of_medians([[1.0, 1.0, 1.0, 1.0, 1.0], [3.0]])
    assert (found.value, found.lower, found.upper) == (2.0, 2.0, 2.0)
    assert (found.low, found.high, found.num) == (1.0, 3.0, 6)


def test_the_interval_of_a_mean_resamples_each_group_by_itself() -> None:
    spread = mean_of_medians([[1.0, 2.0, 3.0], [10.0, 10.0, 10.0]])
    assert spread.value == 6.0
    assert (spread.lower, spread.upper) == (5.5, 6.5)
