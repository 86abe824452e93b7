"""The comparison of two versions in service: right about drops and gains, patient while nobody can tell."""

from __future__ import annotations

import random

import pytest

from pipelines.registry import Served
from serving.rollout import Decision, RolloutSettings, compare

SETTINGS = RolloutSettings()


def served(num_requests: int, length: float, chance: random.Random, *, slowness: float = 1.0) -> Served:
    """Requests of some forty steps each, as uneven as real ones."""
    found = Served()
    for _ in range(num_requests):
        steps = chance.randint(5, 80)
        tokens = max(1.0, steps * chance.gauss(length, 0.25 * length))
        found.add(tokens, steps, steps * 0.004 * slowness * chance.uniform(0.8, 1.3))
    return found


def decided(newer: float, older: float, seed: int, *, requests: int = 400, slowness: float = 1.0) -> Decision:
    """Looking each time both have answered ten requests more."""
    chance = random.Random(seed)
    new, old = Served(), Served()
    for _ in range(requests // 10):
        new, old = new + served(10, newer, chance, slowness=slowness), old + served(10, older, chance)
        verdict = compare(new, old, SETTINGS)
        if verdict.decision != "wait":
            return verdict.decision
    return "wait"


@pytest.mark.parametrize(("newer", "decision"), [(1.6, "go"), (2.0, "stay"), (2.4, "stay")])
def test_a_drop_is_rolled_back_and_whatever_is_no_drop_stays(newer: float, decision: Decision) -> None:
    assert {decided(newer, 2.0, seed, requests=1500) for seed in range(20)} == {decision}


def test_a_slower_version_is_rolled_back_whatever_it_has_accepted() -> None:
    assert {decided(2.0, 2.0, seed, slowness=1.5) for seed in range(20)} == {"go"}


def test_a_version_as_good_as_the_other_is_hardly_ever_rolled_back() -> None:
    assert sum(decided(2.0, 2.0, seed, requests=2000) == "go" for seed in range(200)) <= 2


def test_with_few_requests_nobody_can_tell() -> None:
    chance = random.Random(0)
    few, many = served(SETTINGS.min_requests - 1, 1.0, chance), served(1000, 3.0, chance)
    assert compare(few, many, SETTINGS).decision == compare(many, few, SETTINGS).decision == "wait"
    assert compare(Served(), Served(), SETTINGS).decision == "wait"


@pytest.mark.parametrize(("newer", "decision"), [(1.88, "go"), (1.93, "stay")])
def test_in_the_end_the_mean_decides(newer: float, decision: Decision) -> None:
    """So close to what is allowed that no number of requests would tell them apart."""
    chance = random.Random(3)
    new, old = Served(), Served()
    for _ in range(SETTINGS.max_requests):
        tokens = chance.choice((0.5, 1.5))
        new.add(newer * 40 * tokens, 40, 0.16)
        old.add(2.0 * 40 * tokens, 40, 0.16)
    assert compare(new, old, SETTINGS).decision == decision
    assert compare(new, old, RolloutSettings(max_requests=10**6)).decision == "wait"


def test_the_reason_tells_both_figures() -> None:
    chance = random.Random(1)
    why = compare(served(100, 1.5, chance), served(100, 2.0, chance), SETTINGS).why
    assert why.startswith("tokens per step 1.98 -> 1.52 (-23.2%, at least -31.7%), tokens per second 477 -> 369 (")
    assert "100 and 100 requests" in why


def test_a_ratio_of_sums_has_the_spread_that_repetitions_have() -> None:
    chance = random.Random(5)
    sample = [served(60, 2.0, chance).length for _ in range(400)]
    mean = sum(each.value for each in sample) / len(sample)
    spread = sum((each.value / mean - 1) ** 2 for each in sample) / len(sample)
    claimed = sum(each.log_variance for each in sample) / len(sample)
    assert claimed == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize(
    ("field", "value"), [("holdback", 0.6), ("max_drop", 0.0), ("min_requests", 1), ("max_requests", 3), ("max_slowdown", 1.0)]
)
def test_a_setting_that_cannot_work_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field} is"):
        RolloutSettings(**{field: value})  # type: ignore[arg-type]
