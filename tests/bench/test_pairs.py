"""Interleaved pairs: turns, equality first, loops left out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.equality import Judge
from bench.errors import Different
from bench.pairs import Side, interleave
from bench.rig import Answer, Ask
from tests.serving.rig import tiny_decoder

LOOP, TEXT = [5, 6] * 4, [1, 2, 3, 4, 5, 6, 7, 8]


def ask(number: int) -> Ask:
    return Ask(number, "toy", (1, 2), 8, ())


def side(name: str, calls: list[str], seconds: float, wrong_at: int = -1) -> Side:
    """Every odd request gets an answer that loops; `wrong_at`: the one that is answered otherwise."""

    def run(asks: Sequence[Ask]) -> list[Answer]:
        calls.append(name)
        answers = []
        for each in asks:
            said = LOOP if each.id % 2 else TEXT
            said = said[:-1] if each.id == wrong_at else said
            # loops take a tenth of the time
            answers.append(Answer(each, list(said), num_timed=8, seconds=seconds / (10 if each.id % 2 else 1)))
        return answers

    return run


def test_the_sides_take_turns_in_going_first() -> None:
    calls: list[str] = []
    batches = [[ask(number)] for number in range(1, 5)]
    interleave([ask(0)], batches, side("ours", calls, 1.0), side("theirs", calls, 2.0), Judge(tiny_decoder()))
    assert calls == ["ours", "theirs"] + ["ours", "theirs", "theirs", "ours"] * 2


@pytest.mark.parametrize("wrong_at", [0, 3])
def test_nothing_is_timed_where_an_output_differs(wrong_at: int) -> None:
    calls: list[str] = []
    batches = [[ask(number)] for number in range(1, 8)]
    with pytest.raises(Different):
        interleave([ask(0)], batches, side("ours", calls, 1.0, wrong_at), side("theirs", calls, 2.0), Judge(tiny_decoder()))
    assert len(calls) == 2 + 2 * wrong_at


def test_ratios_are_given_with_and_without_looping_answers() -> None:
    batches = [[ask(2), ask(3)], [ask(4), ask(5)], [ask(7)]]
    ours, theirs = side("ours", [], 1.0), side("theirs", [], 3.0)
    pairs = interleave([ask(0)], batches, ours, theirs, Judge(tiny_decoder()))
    everything, without = pairs.speed(loops=True), pairs.speed(loops=False)
    assert everything is not None
    assert without is not None
    assert (everything.num, without.num) == (3, 2), "a pair of nothing but loops drops out"
    assert without.value == pytest.approx(3.0)
    assert (pairs.num_answers, pairs.num_looping) == (5, 3)


def test_without_any_answer_left_there_is_no_ratio() -> None:
    pairs = interleave([ask(0)], [[ask(1)]], side("a", [], 1.0), side("b", [], 1.0), Judge(tiny_decoder()))
    assert pairs.speed(loops=False) is None
