"""Arms: tried in turn, chosen by what they bring."""

from __future__ import annotations

from itertools import pairwise

from speculator.arms import NONE, Arm, Arms
from speculator.outlook import Promise

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


def test_a_step_counts_for_as_long_as_it_took() -> None:
    arms = Arms([A])
    arms.observe(A, 1.2, took=1.0)
    before = arms.gains()[A]
    arms.observe(A, 0.3, took=4.0)  # as many tokens as before in four times the time
    after = arms.gains()[A]
    once = Arms([A])
    once.observe(A, 1.2)
    once.observe(A, 0.3)
    assert after < once.gains()[A] < before


def test_a_costly_arm_is_not_tried_in_a_crowd_before_it_has_an_outlook() -> None:
    arms = Arms([A, B], 8, costly=[A])
    assert A not in play(arms, {A: 2.0, B: 0.9, NONE: 1.0}, 300)
    for _ in range(8):
        arms.foresee(Promise(A, 8, False, 2.0, 2, 1.0))
    assert A in play(arms, {A: 2.0, B: 0.9, NONE: 1.0}, 100)
    assert arms.best == A
    assert A in play(Arms([A], 1, costly=[A]), {A: 2.0, NONE: 1.0}, 10), "one answer's trial is nobody else's time"


def test_an_arm_that_keeps_losing_is_tried_ever_more_rarely_but_never_given_up() -> None:
    chosen = play(Arms([A]), {A: 0.5, NONE: 1.0}, 4000)
    tried = [step for step, arm in enumerate(chosen) if arm == A]
    trials = [step for earlier, step in pairwise(tried) if step - earlier > 2]  # within one, every other step is plain
    gaps = [later - earlier for earlier, later in pairwise(trials)]
    assert gaps[0] <= 80
    assert gaps[-1] >= 512
    assert gaps == sorted(gaps)
    assert len(trials) >= 7


def test_with_other_weights_an_arm_is_tried_soon_however_often_it_lost() -> None:
    for num_sequences in (1, 8):
        arms = Arms([A, B], num_sequences)
        play(arms, {A: 0.5, B: 0.5, NONE: 1.0}, 5000)
        arms.forget("a")
        chosen = play(arms, {A: 2.0, B: 0.5, NONE: 1.0}, 120)
        assert arms.best == A
        assert B not in chosen, "which has the weights that it had"


def test_a_trial_takes_turns_with_the_arm_in_use() -> None:
    arms = Arms([A])
    play(arms, {A: 0.5, NONE: 1.0}, 34)
    chosen = play(arms, {A: 0.5, NONE: 1.0}, 16)
    assert chosen.count(A) == chosen.count(NONE) == 8
    assert all(one != other for one, other in pairwise(chosen))


def test_a_crowd_takes_drafting_up_for_a_clear_gain_and_gives_it_up_before_it_is_lost() -> None:
    for gain, taken_up in ((1.1, False), (1.25, True)):
        arms = Arms([A], 8)
        play(arms, {A: gain, NONE: 1.0}, 600)
        assert (arms.best == A) == taken_up
    play(arms, {A: 1.12, NONE: 1.0}, 600)
    assert arms.best == A
    play(arms, {A: 1.04, NONE: 1.0}, 600)
    assert arms.best == NONE


def test_a_trial_finds_out_that_an_arm_has_become_good() -> None:
    arms = Arms([A])
    play(arms, {A: 0.5, NONE: 1.0}, 3000)
    chosen = play(arms, {A: 2.0, NONE: 1.0}, 600)
    assert arms.best == A
    assert chosen[-50:].count(A) >= 48  # the rest: trials of plain decoding


def test_a_crowd_goes_back_to_an_arm_however_long_it_waited() -> None:
    arms = Arms([A], 8)
    play(arms, {A: 0.5, NONE: 1.0}, 5000)
    play(arms, {A: 2.0, NONE: 1.0}, 1200)
    assert arms.best == A


def test_a_small_advantage_does_not_make_it_waver() -> None:
    arms = Arms([A, B])
    chosen = play(arms, {A: 1.5, B: 1.53, NONE: 1.0}, 500)
    assert arms.best == A
    assert chosen.count(B) < 60


def test_plain_decoding_takes_over_as_soon_as_it_is_better() -> None:
    arms = Arms([A])
    play(arms, {A: 1.0, NONE: 1.01}, 100)
    assert arms.best == NONE


def scored(arm: Arm, gain: float, *, promised: float | None = None) -> Promise:
    """A tree that would have brought `gain` times plain decoding's tokens, in a plain step's time."""
    tokens = round(10 * gain)
    return Promise(arm, 1, False, expected=tokens if promised is None else 10 * promised, tokens=tokens, steps=10.0)


def watch(arms: Arms, gains: dict[Arm, float], num_steps: int, promises: dict[Arm, float] | None = None) -> list[Arm]:
    """As `play`, with every arm scored in every eighth step. promises: what they say of themselves; left out: the truth."""
    chosen = []
    for step in range(num_steps):
        chosen += play(arms, gains, 1)
        for arm in gains.keys() - {NONE} if step % 8 == 0 else ():
            arms.foresee(scored(arm, gains[arm], promised=(promises or gains)[arm]))
    return chosen


def test_an_arm_whose_outlook_is_hopeless_is_not_tried() -> None:
    gains = {A: 1.5, B: 0.5, NONE: 1.0}
    arms = Arms([A, B])
    watch(arms, gains, 100)
    assert watch(arms, gains, 1000).count(B) == 0


def test_an_arm_that_has_become_better_takes_over_without_having_been_tried() -> None:
    arms = Arms([A, B])
    watch(arms, {A: 1.5, B: 0.5, NONE: 1.0}, 600)
    chosen = watch(arms, {A: 1.5, B: 3.0, NONE: 1.0}, 250)
    assert arms.best == B
    assert chosen.count(B) > 60


def test_who_promises_too_much_is_believed_by_what_came_of_it() -> None:
    arms = Arms([A, B])
    chosen = watch(arms, {A: 1.5, B: 1.1, NONE: 1.0}, 1500, promises={A: 1.5, B: 4.0})
    assert chosen[700:].count(A) > 700


def test_outlooks_that_are_all_too_rosy_do_not_keep_plain_decoding_out() -> None:
    """Drafting costs more than anybody reckons with: what steps bring is less than what trees promise."""
    arms, said = Arms([A, B]), {A: 1.6, B: 1.4, NONE: 1.0}
    chosen = []
    for step in range(2000):
        chosen += play(arms, {A: 0.8, B: 0.7, NONE: 1.0}, 1)
        for arm in (A, B) if step % 8 == 0 else ():
            arms.foresee(scored(arm, said[arm]))
    assert chosen[200:].count(NONE) > 1600


def test_other_weights_are_given_a_new_chance() -> None:
    arms = Arms([A])
    watch(arms, {A: 0.5, NONE: 1.0}, 500)
    assert arms.gains()[A] < 0.8
    arms.forget("b")
    assert arms.gains()[A] < 0.8, "another's weights"
    arms.forget("a")
    watch(arms, {A: 2.0, NONE: 1.0}, 200)
    assert arms.best == A
