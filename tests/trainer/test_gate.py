"""The gate's error rates, by simulation, and its rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from trainer.gate import Judgement, Rules, Score, judge, lower_bound, num_resamples
from trainer.slicing import finish

RULES = Rules()


def conversations(count: int, gain: float, seed: int, shared: float = 0.0) -> list[Score]:
    """Answers of 8 to 60 tokens. Champion and candidate need a step for about every second token, the candidate
    fewer by `gain`; which tokens is chance, so that conversations gain and lose."""
    random = np.random.default_rng(seed)
    scores = []
    for _ in range(count):
        length = int(random.integers(8, 60))
        champion = 1 + int(random.binomial(length - 1, 0.5))
        candidate = 1 + int(random.binomial(length - 1, 0.5 * (1 - gain)))
        scores.append(Score("default", "chat", length, champion, candidate))
    return scores


def decided(scores: Sequence[Score], look: int = 1, seed: int = 0) -> Judgement:
    return finish(judge(scores, RULES, look=look, seed=seed))


def rate_limit(trials: int, rate: float) -> int:
    """Successes that a true rate of `rate` exceeds once in 10,000 times."""
    return int(stats.binom.ppf(0.9999, trials, rate))


def test_candidates_without_a_gain_pass_once_in_a_hundred_epochs_though_judged_again_and_again() -> None:
    trials = 200
    false_publications = 0
    for trial in range(trials):
        held_out = conversations(128, 0.0, seed=trial)
        looks = [held_out[:64], held_out[:96], held_out]
        decisions = [decided(seen, look, trial).decision for look, seen in enumerate(looks, 1)]
        false_publications += "passed" in decisions
    assert false_publications <= rate_limit(trials, RULES.level)


def test_that_check_notices_a_gate_that_spends_five_in_a_hundred_anew_at_every_look() -> None:
    trials = 200
    passed = 0
    for trial in range(trials):
        held_out = conversations(128, 0.0, seed=trial)
        samples = [saved(held_out[:size]) for size in (64, 96, 128)]
        bounds = [finish(lower_bound(sample, 0.05, np.random.default_rng(trial))) for sample in samples]
        passed += max(bounds) > 0
    assert passed > rate_limit(trials, RULES.level)


def saved(scores: Sequence[Score]) -> NDArray[np.float64]:
    return np.array([score.champion_steps - score.candidate_steps for score in scores], np.float64)


def test_a_real_gain_of_a_tenth_is_found_at_the_first_look() -> None:
    found = sum(decided(conversations(64, 0.15, seed)).decision == "passed" for seed in range(60))
    assert found >= 54


def test_a_rare_great_loss_is_not_overlooked() -> None:
    """Every twentieth conversation loses what the others gain. The plain percentile bound is above zero too often."""
    trials, false = 300, 0
    for trial in range(trials):
        random = np.random.default_rng(trial)
        sample = np.where(random.random(128) < 0.05, -9.5, 0.5)
        false += finish(lower_bound(sample, 0.01, random)) > 0
    # a sample without a single loss, one in 700, proves a gain to anybody
    assert false <= rate_limit(trials, 0.01 + 0.95**128)


def test_the_bound_agrees_with_students_for_a_normal_sample() -> None:
    sample = stats.norm(loc=1.0, scale=2.0).rvs(200, random_state=5)
    bound = finish(lower_bound(sample, 0.01, np.random.default_rng(0)))
    student = sample.mean() - stats.t(199).ppf(0.99) * sample.std(ddof=1) / np.sqrt(200)
    assert bound == pytest.approx(student, abs=0.05)  # the two differ by 0.6 from the mean


def test_what_looks_may_spend_sums_to_the_level_however_many_there_are() -> None:
    spent = [RULES.spent_at(look) for look in range(1, 10_000)]
    assert sum(spent) <= RULES.level
    assert sum(spent[:5]) > 0.8 * RULES.level
    assert all(num_resamples(level) * level >= 10 or num_resamples(level) == 100_000 for level in spent)


def test_fewer_conversations_than_asked_for_are_not_enough_evidence() -> None:
    assert decided(conversations(63, 0.5, 0)) == Judgement("not enough evidence", 63)
    assert decided(conversations(64, 0.5, 0)).decision == "passed"


def test_no_gain_is_told_from_a_gain_that_is_not_proven_yet() -> None:
    lost = decided(conversations(64, -0.1, 0))
    assert (lost.decision, lost.gain < 0) == ("no gain", True)
    unproven = [decided(conversations(64, 0.04, seed)) for seed in range(20)]
    assert {each.decision for each in unproven} <= {"not enough evidence", "no gain", "passed"}
    assert any(each.decision == "not enough evidence" and each.gain > 0 for each in unproven)


def test_figures_are_pooled_tokens_over_steps() -> None:
    scores = [Score("default", "", 12, 6, 4)] * 40 + [Score("default", "", 30, 10, 6)] * 24
    judgement = decided(scores)
    assert judgement.champion_tokens_per_step == pytest.approx((12 * 40 + 30 * 24) / (6 * 40 + 10 * 24))
    assert judgement.tokens_per_step == pytest.approx((12 * 40 + 30 * 24) / (4 * 40 + 6 * 24))
    assert 0 < judgement.gain_lower <= judgement.gain
    assert type(judgement.tokens_per_step) is float


@pytest.mark.parametrize("label", ["tenant", "domain"])
def test_a_group_that_loses_a_twentieth_stops_a_candidate_that_gains_overall(label: str) -> None:
    winners = [Score("a", "x", 40, 20, 10)] * 100
    losers = [Score("b" if label == "tenant" else "a", "y" if label == "domain" else "x", 40, 19, 20)] * 32
    judgement = decided(winners + losers)
    assert judgement.decision == "regression in a group"
    assert judgement.by_group[f"{label}:{'b' if label == 'tenant' else 'y'}"] == pytest.approx(19 / 20 - 1)
    assert decided(winners + losers[:31]).decision == "passed", "too few to be a group"


def test_groups_without_a_label_are_no_domain() -> None:
    assert set(decided([Score("a", "", 40, 20, 10)] * 64).by_group) == {"tenant:a"}
