"""Arms: tried in turn, chosen by what they bring."""

from __future__ import annotations

from itertools import pairwise

from speculator.arms import NONE, Arm, Arms

A, B = frozenset({"a"}), frozenset({"b"})


def play(arms: Arms, gains: dict[Arm, float], num_steps: int) -> list[Arm]:
    chosen = []
    for _ in range(num_steps):
        chosen.append(arms.choose())
        arms.observe(chosen[-1], gains[chosen[-1]])
    return chosen


def test_the_preferred_arm_is_tried_first_and_given_up_if_it_loses() -> None:
    chosen = play(Arms([A]), {A: 0.8, NONE: 1.0}, 16)
    assert chosen[0] == A
    assert chosen[4:15] == [NONE] * 11


def test_the_best_arm_gets_nearly_all_steps() -> None:
    for best, gains in ((A, {A: 2.0, B: 1.5, NONE: 1.0}), (B, {A: 1.2, B: 2.0, NONE: 1.0})):
        chosen = play(Arms([A, B]), gains, 1000)
        assert chosen.count(best) > 900


def test_an_arm_that_keeps_losing_is_tried_ever_more_rarely_but_never_given_up() -> None:
    chosen = play(Arms([A]), {A: 0.5, NONE: 1.0}, 4000)
    trials = [step for step, arm in enumerate(chosen) if arm == A and chosen[step - 1] == NONE]
    gaps = [later - earlier for earlier, later in pairwise(trials[1:])]
    assert gaps[0] < 80
    assert gaps[-1] >= 512
    assert gaps == sorted(gaps)
    assert len(trials) >= 8


def test_a_trial_finds_out_that_an_arm_has_become_good() -> None:
    arms = Arms([A])
    play(arms, {A: 0.5, NONE: 1.0}, 3000)
    chosen = play(arms, {A: 2.0, NONE: 1.0}, 600)
    assert arms.best == A
    assert chosen[-50:].count(A) >= 48  # the rest: trials of plain decoding


def test_a_small_advantage_does_not_make_it_waver() -> None:
    arms = Arms([A, B])
    chosen = play(arms, {A: 1.5, B: 1.53, NONE: 1.0}, 500)
    assert arms.best == A
    assert chosen.count(B) < 60


def test_plain_decoding_takes_over_as_soon_as_it_is_better() -> None:
    arms = Arms([A])
    play(arms, {A: 1.0, NONE: 1.01}, 100)
    assert arms.best == NONE


def test_twins_are_compared_elsewhere() -> None:
    arms = Arms([A, B], twins=[(A, B)])
    chosen = play(arms, {A: 1.5, B: 9.0, NONE: 1.0}, 300)
    assert B not in chosen
    arms.prefer(B)
    assert arms.best == B
    assert arms.gains()[B] == arms.gains()[A]
    arms.prefer(B)
    assert arms.best == B


def test_where_plain_decoding_wins_both_twins_are_tried() -> None:
    arms = Arms([A, B], twins=[(A, B)])
    play(arms, {A: 0.7, B: 1.6, NONE: 1.0}, 200)
    assert arms.best == B


def test_preferring_a_twin_changes_nothing_while_neither_is_the_best() -> None:
    arms = Arms([A, B], twins=[(A, B)])
    play(arms, {A: 0.5, B: 0.5, NONE: 1.0}, 100)
    arms.prefer(B)
    assert arms.best == NONE
