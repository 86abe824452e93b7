"""Rests: in a crowd, those for whom drafting does not pay are asked ever more rarely."""

from __future__ import annotations

from speculator.arms import CROWD
from speculator.batch import Sampling, Sequence
from speculator.drafts import Tree
from speculator.rests import Rests

STEP_SECONDS = tuple(4e-3 + 1e-4 * node for node in range(65))
"""Plainly a millisecond for each of four tokens: a node has to be right one time in ten."""
DRAFTING = 1e-4


def crowd(num: int = CROWD) -> list[Sequence]:
    return [Sequence(number, "t", [1, 2], 1, Sampling(max_tokens=1000)) for number in range(num)]


def chain(confidence: float, length: int) -> Tree:
    tree = Tree.rooted(0)
    for node in range(length):
        tree.add(node, 1, confidence, 1)
    return tree


def play(rests: Rests, sequences: list[Sequence], trees: dict[int, Tree], num_steps: int, **changes: object) -> list[int]:
    """How often each sequence was asked for."""
    asked = [0] * len(sequences)
    for _ in range(num_steps):
        rows = rests.awake(sequences)
        for row in rows:
            asked[row] += 1
        drafted = [sequences[row] for row in rows]
        kept = [trees.get(row, chain(0.0, 0)) for row in rows]
        rests.judge(drafted, kept, len(sequences), changes.get("step_seconds", STEP_SECONDS), DRAFTING)  # type: ignore[arg-type]
    return asked


def test_only_those_who_gain_are_drafted_for_in_every_step() -> None:
    asked = play(Rests(), crowd(), {2: chain(0.9, 5)}, 100)
    assert asked[2] == 100
    assert all(5 <= number < 15 for row, number in enumerate(asked) if row != 2)


def test_a_draft_that_covers_its_nodes_but_not_the_drafting_does_not_pay() -> None:
    """One node, right one time in seven: 0.14 tokens, for 0.1 of a token's time in the pass and 0.1 in drafting."""
    asked = play(Rests(), crowd(), {0: chain(0.14, 1), 1: chain(0.25, 1)}, 100)
    assert asked[0] < 15
    assert asked[1] == 100


def test_whoever_begins_to_repeat_itself_is_found_within_a_rest() -> None:
    rests, sequences = Rests(), crowd()
    play(rests, sequences, {}, 200)
    asked = play(rests, sequences, {0: chain(0.95, 8)}, 40)
    assert asked[0] > 20
    assert asked[1] < 5


def test_alone_and_where_nothing_can_be_judged_everyone_is_drafted_for() -> None:
    assert play(Rests(), crowd(CROWD - 1), {}, 30) == [30] * (CROWD - 1)
    assert play(Rests(), crowd(), {}, 30, step_seconds=()) == [30] * CROWD


def test_who_asked_for_plain_decoding_is_left_alone() -> None:
    sequences = crowd()
    sequences[1].speculative = False
    assert play(Rests(), sequences, dict.fromkeys(range(CROWD), chain(0.9, 3)), 10) == [10, 0, 10, 10]


def test_nothing_is_kept_of_who_left() -> None:
    rests, sequences = Rests(), crowd()
    play(rests, sequences, {}, 30)
    for sequence in sequences:
        rests.end(sequence)
    assert rests.awake(sequences) == [0, 1, 2, 3]


def test_nodes_beyond_those_that_have_a_price_cost_what_the_others_do() -> None:
    """Drawn trees are kept whole, even where that is more than the budget."""
    asked = play(Rests(), crowd(), {0: chain(0.9, 5), 1: chain(0.05, 5)}, 100, step_seconds=STEP_SECONDS[:5])
    assert asked[0] == 100
    assert asked[1] < 15
