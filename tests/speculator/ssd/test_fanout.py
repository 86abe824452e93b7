"""Fan-out: the budget goes where it is worth most, by what was measured."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from speculator.ssd.fanout import MOST_RANKS, FanOut


def learnt(acceptance: float, rank_power: float, seed: int = 0, num_drafted: int = 4, rounds: int = 600) -> FanOut:
    """From drafts of that acceptance whose recovered tokens rank by a power law."""
    chance, fan_out = random.Random(seed), FanOut()
    weights = [(rank + 1) ** -rank_power - (rank + 2) ** -rank_power for rank in range(MOST_RANKS)]
    for _ in range(rounds):
        accepted = 0
        while accepted < num_drafted and chance.random() < acceptance:
            accepted += 1
        missed = chance.random() > sum(weights)
        fan_out.observe(num_drafted, accepted, None if missed else chance.choices(range(MOST_RANKS), weights)[0])
    return fan_out


@pytest.mark.parametrize("policy", ["measured", "uniform", "geometric"])
@pytest.mark.parametrize(("num_drafted", "budget"), [(0, 5), (4, 24), (4, 3), (7, 24), (2, 0)])
def test_all_of_the_budget_is_allotted_and_no_more(policy: str, num_drafted: int, budget: int) -> None:
    allotted = FanOut(policy).allot(num_drafted, budget)  # type: ignore[arg-type]
    assert len(allotted) == num_drafted + 1
    assert sum(allotted) == budget
    assert all(0 <= each <= MOST_RANKS for each in allotted)


def test_without_a_draft_there_is_one_outcome() -> None:
    assert FanOut().allot(0, 100) == [MOST_RANKS]


def test_the_allotment_is_the_best_there_is() -> None:
    fan_out = learnt(0.6, 1.0, num_drafted=3)
    splits = [split for split in itertools.product(range(8), repeat=4) if sum(split) == 7]
    best = max(splits, key=lambda split: expected_hits(fan_out, split))
    assert expected_hits(fan_out, fan_out.allot(3, 7)) == pytest.approx(expected_hits(fan_out, best))


@pytest.mark.parametrize("acceptance", [0.5, 0.7, 0.85])
def test_the_geometric_rule_is_the_closed_form(acceptance: float) -> None:
    """For a miss rate of 1 / (F + 1) the optimum has F_k + 1 proportional to the square root of P_k."""
    allotted = FanOut("geometric", acceptance=acceptance).allot(7, 48)
    outcomes = [acceptance**k * (1 - acceptance) for k in range(7)] + [acceptance**7]
    roots = [each**0.5 for each in outcomes]
    for count, root in zip(allotted, roots, strict=True):
        assert count + 1 == pytest.approx((48 + 8) * root / sum(roots), abs=1.01)


def test_what_is_measured_moves_the_budget() -> None:
    weak, strong = learnt(0.2, 1.0).allot(4, 24), learnt(0.9, 1.0).allot(4, 24)
    assert weak[0] > strong[0]
    assert strong[4] > weak[4]
    assert learnt(0.2, 1.0).outcomes(4)[0] == pytest.approx(0.8, abs=0.07)


def test_a_change_of_the_traffic_is_followed() -> None:
    fan_out = learnt(0.9, 1.0)
    before = fan_out.outcomes(4)[0]
    for _ in range(600):
        fan_out.observe(4, 0, 0)
    assert fan_out.outcomes(4)[0] > before + 0.5


def test_measured_beats_uniform_where_drafts_are_weak() -> None:
    fan_out = learnt(0.3, 0.8)
    measured, uniform = fan_out.allot(4, 24), FanOut("uniform").allot(4, 24)
    assert expected_hits(fan_out, measured) > expected_hits(fan_out, uniform) + 0.02


def expected_hits(fan_out: FanOut, allotted: Sequence[int]) -> float:
    """The chance of a hit that an allotment has, by what was measured."""
    outcomes, last = fan_out.outcomes(len(allotted) - 1), len(allotted) - 1
    return sum(
        chance * sum(fan_out.hit_chances(ended=k == last)[:count])
        for k, (chance, count) in enumerate(zip(outcomes, allotted, strict=True))
    )
