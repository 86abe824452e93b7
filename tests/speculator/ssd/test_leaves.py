"""Leaves beside a draft: verified in its place, chosen by their chances, and prepared for as the draft's own ends are."""

from __future__ import annotations

import pytest

from serving.engine import FixedBudget
from speculator.ssd.fanout import FanOut
from speculator.ssd.prepared import Node, likeliest
from tests.serving.rig import plain_engine
from tests.speculator.draft_models import draft_model, target_of
from tests.speculator.ssd.beside import Beside, engine_beside, source_of
from tests.speculator.test_draft_lm import requests, served

TARGET = draft_model(seed=0)


def way(*chances: float) -> Node:
    """Tokens 1, 2, …, of these chances; in place of each two others, of half and a tenth of what is left."""
    root = node = Node()
    for at, chance in enumerate(chances):
        node.others = ((10 * at + 100, (1 - chance) / 2), (10 * at + 101, (1 - chance) / 10))
        node = node.add(at + 1, chance, main=True)
    return root


def test_the_tree_holds_the_way_and_what_may_come_in_its_place() -> None:
    tree = way(0.9, 0.8).tree(5)
    assert tree.tokens[1:] == [100, 101, 1, 110, 111, 2]
    assert tree.depth[1:] == [1, 1, 1, 2, 2, 2]
    assert tree.parent[1:] == [0, 0, 0, 3, 3, 3]
    assert way(0.9, 0.8).tree(1).tokens[1:] == [100, 101, 1]
    assert len(Node().tree(3)) == 1


@pytest.mark.parametrize("most", range(1, 10))
def test_the_likeliest_nodes_are_chosen_and_none_without_the_way_to_it(most: int) -> None:
    for chances in ((0.9, 0.8, 0.95), (0.2, 0.9, 0.9), (0.5, 0.5, 0.1), (1.0, 1.0, 1.0)):
        tree = way(*chances).tree(3)
        length, leaves = likeliest(tree, tree.confidence, most)
        assert length + len(leaves) == min(most, 9)
        assert all(at <= length for at, _, _ in leaves), "a leaf stands beside a token of the draft, or behind its last"
        survival = tree.survival()
        chosen = sum(sorted(survival[1:], reverse=True)[:most])
        taken = sum(survival[tree.tokens.index(token)] for token in [*range(1, length + 1), *(leaf[1] for leaf in leaves)])
        assert taken == pytest.approx(chosen)


def test_outcomes_behind_leaves_are_allotted_by_what_they_gain() -> None:
    fan_out = FanOut()
    for number in range(300):  # half of the drafts end at once, and then the first other choice is right nine times in ten
        fan_out.observe(3, 0 if number % 2 else 3, 0 if number % 10 else 5)
    allotted = fan_out.allot(3, 24, [(0, 0), (2, 3)])
    assert len(allotted) == 4 + 2
    assert sum(allotted) == 24
    assert allotted[4] > allotted[5], "the leaf that is likely gets more than the one that is not"
    gains = [
        fan_out.expected_hits(fan_out.allot(3, 24)[:4]),
        fan_out.expected_hits([6, 6, 6, 6]),
    ]
    assert gains[0] >= gains[1]
    assert gains[0] <= 1.0 + 1e-9, "a chance, however few were seen"


def test_uniform_is_uniform_behind_leaves_too() -> None:
    assert FanOut("uniform").allot(2, 14, [(0, 0), (1, 1)]) == [3, 3, 3, 3, 2]
    assert FanOut("uniform").allot(0, 100, [(0, 0)]) == [32, 31], "no more than there are"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_leaves_are_accepted_and_the_text_stays_the_targets(temperature: float) -> None:
    """A draft that is often wrong: with leaves it gets further, in as many rounds or fewer."""
    asked = requests(12, temperature)
    expected = served(plain_engine(target_of(TARGET)), asked)
    rounds = {}
    for nodes in (3, 12):  # a chain and hardly any leaf; every leaf there is
        link = Beside(draft_model(seed=0).requires_grad_(False))
        noisy(link)
        engine = engine_beside(TARGET, link, lookahead=3)
        engine.controller = FixedBudget(nodes)
        assert served(engine, asked) == expected
        counters = source_of(engine).counters
        rounds[nodes] = counters["ssd_rounds:hit"] + counters["ssd_rounds:miss"]
        offered = engine.stats.counters["draft_tokens"] / rounds[nodes]
        assert offered <= nodes
    assert rounds[12] < rounds[3]


def noisy(link: Beside) -> None:
    """The draft's first choice is often the target's second."""
    vocabulary = link.worker._runner.vocabulary
    scores = vocabulary.scores
    vocabulary.scores = lambda states: scores(states) + 0.6 * (scores(states).roll(1, -1))  # type: ignore[method-assign]
