"""Who is judged by whose steps."""

from __future__ import annotations

import pytest

from speculator.arms import NONE, Arm
from speculator.batch import Batch, Sampling, Sequence
from speculator.contexts import EVIDENCE, MOST_GROUPS, Contexts, Group, Situation

GOOD: Arm = frozenset({"medusa"})


def sequence(tenant: str, domain: str = "", temperature: float = 0.0) -> Sequence:
    return Sequence(0, tenant, [1, 2], 1, Sampling(temperature=temperature), domain=domain)


def alone(tenant: str) -> Situation:
    return Situation(0, False, Group(tenant, ""))


def steps(contexts: Contexts, situation: Situation, gain: float, number: int) -> None:
    for _ in range(number):
        contexts.arms(situation).choose()
        contexts.observe(situation, GOOD, gain)


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        ([sequence("a", "x")], Situation(0, False, Group("a", "x"))),
        ([sequence("a"), sequence("a")], Situation(1, False, Group("a", ""))),
        ([sequence("a"), sequence("b")], Situation(1, False, None)),
        ([sequence("a", "x"), sequence("a", "y"), sequence("a", "x", 0.8)], Situation(2, False, None)),
        ([sequence("a", temperature=0.8)], Situation(0, True, Group("a", ""))),
    ],
)
def test_a_batch_is_of_a_group_if_all_of_it_is(sequences: list[Sequence], expected: Situation) -> None:
    assert Situation.of(Batch(tuple(sequences))) == expected


def test_a_group_is_judged_by_itself_once_there_is_evidence() -> None:
    contexts = Contexts([GOOD])
    steps(contexts, alone("a"), 3.0, EVIDENCE - 1)
    assert contexts.arms(alone("a")) is contexts.arms(alone("z"))
    steps(contexts, alone("a"), 3.0, EVIDENCE)
    steps(contexts, alone("b"), 0.5, 2 * EVIDENCE)
    gains = {tenant: contexts.arms(alone(tenant)).gains()[GOOD] for tenant in "ab"}
    assert gains["a"] > 2.0
    assert gains["b"] < 1.0
    assert contexts.arms(alone("a")).best == GOOD
    assert contexts.arms(alone("b")).best == NONE


def test_what_is_known_of_everybody_is_where_a_group_starts_from() -> None:
    contexts = Contexts([GOOD])
    steps(contexts, Situation(0, False, None), 2.0, 4 * EVIDENCE)
    steps(contexts, alone("b"), 2.0, EVIDENCE)
    own, everybody = contexts.arms(alone("b")), contexts.arms(Situation(0, False, None))
    assert own is not everybody
    assert own.gains()[GOOD] == pytest.approx(everybody.gains()[GOOD], rel=0.05)
    steps(contexts, alone("b"), 1.4, 20)
    assert own.gains()[GOOD] < everybody.gains()[GOOD], "its own steps weigh more with it"


def test_groups_are_bounded_and_the_one_met_longest_ago_goes() -> None:
    contexts = Contexts([GOOD])
    for number in range(MOST_GROUPS + 10):
        steps(contexts, alone(f"t{number}"), 2.0, EVIDENCE + 1)
        steps(contexts, alone("t1"), 2.0, 1)
    groups = [situation.group for situation, _ in contexts if situation.group is not None]
    assert len(groups) == MOST_GROUPS
    assert Group("t1", "") in groups
    assert Group("t2", "") not in groups


def test_other_weights_are_news_to_every_group() -> None:
    contexts = Contexts([GOOD])
    for tenant in ("a", "b", "a"):
        steps(contexts, alone(tenant), 3.0, EVIDENCE)
    contexts.forget("medusa")
    steps(contexts, alone("a"), 0.6, 4)
    assert contexts.arms(alone("a")).gains()[GOOD] < 1.5
