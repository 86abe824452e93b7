"""Answers: what is learnt from, and what is kept aside."""

from __future__ import annotations

import pytest

from tests.trainer.scripted import GREEDY, taught
from trainer.answers import Answer, Answers


def answers(*conversations: str) -> list[Answer]:
    return [Answer([number], [1, 2, 3], GREEDY, name) for number, name in enumerate(conversations)]


def sides(known: Answers) -> tuple[list[int], list[int]]:
    """The prompts learnt from, and those kept aside."""
    studied, aside = ([trace.trace.prompt_ids[0] for trace in side] for side in (known.studied, known.held_out))
    return studied, aside


def test_the_first_are_kept_aside_at_most_half() -> None:
    assert sides(Answers.of(answers("", "", "", "", ""), taught(), 2)) == ([2, 3, 4], [0, 1])
    assert sides(Answers.of(answers("", "", "", "", ""), taught(), 9)) == ([2, 3, 4], [0, 1])
    assert sides(Answers.of(answers("", ""), taught(), 0)) == ([0, 1], [])


def test_a_conversation_falls_on_one_side() -> None:
    assert sides(Answers.of(answers("a", "b", "a", "c", "b", "d", "a"), taught(), 3)) == ([1, 4, 3, 5], [0, 2, 6])
    assert sides(Answers.of(answers("a", "b", "b", "c"), taught(), 2)) == ([1, 2], [0, 3])
    assert sides(Answers.of(answers("a", "a", "a"), taught(), 2)) == ([0, 1, 2], []), "something is left to learn from"


def test_where_nothing_can_be_learnt_it_is_said() -> None:
    with pytest.raises(ValueError, match="prompts: 0, and no answer"):
        Answers.of([], taught(), 2)
