"""Trees that a worker hands out: verified beside the draft, chosen by their chances, grown where the text is likely to go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from serving.engine import FixedBudget
from speculator.drafts import Tree
from speculator.ssd.pace import Limits
from speculator.ssd.prepared import Node, likeliest, way
from tests.serving.rig import plain_engine
from tests.speculator.draft_models import draft_model, target_of
from tests.speculator.ssd.beside import Beside, engine_beside, source_of
from tests.speculator.test_draft_lm import requests, served

TARGET = draft_model(seed=0)


def prepared(*chances: float) -> Node:
    """Tokens 1, 2, …, of these chances; in place of each two others, of half and a tenth of what is left."""
    root = node = Node()
    for at, chance in enumerate(chances):
        node.others = ((10 * at + 100, (1 - chance) / 2), (10 * at + 101, (1 - chance) / 10))
        node = node.add(at + 1, chance, main=True)
    return root


def grown(*chances: float) -> Node:
    """The same, and the first token beside the draft has a draft of its own behind it: 200, 201."""
    root = prepared(*chances)
    beside = root.add(*root.others[0])
    beside.others = ((300, 0.1),)
    beside.add(200, 0.9, main=True).add(201, 0.8, main=True)
    return root


def test_the_tree_holds_the_way_and_what_may_come_in_its_place() -> None:
    tree = prepared(0.9, 0.8).tree(5)
    assert tree.tokens[1:] == [1, 2, 100, 101, 110, 111]
    assert tree.depth[1:] == [1, 2, 1, 1, 2, 2]
    assert tree.parent[1:] == [0, 1, 0, 0, 1, 1]
    assert prepared(0.9, 0.8).tree(1).tokens[1:] == [1, 100, 101]
    assert len(Node().tree(3)) == 1


def test_what_was_drafted_beside_the_way_is_part_of_it() -> None:
    tree = grown(0.9, 0.8).tree(2)
    assert tree.tokens[1:] == [1, 2, 100, 200, 300, 101, 110, 111]
    assert tree.parent[1:] == [0, 1, 0, 3, 3, 0, 1, 1]
    assert 201 not in tree.tokens, "too deep"
    assert 201 in grown(0.9, 0.8).tree(3).tokens
    assert way(tree) == [1, 2]


@pytest.mark.parametrize("most", range(1, 14))
@pytest.mark.parametrize("made", [prepared, grown])
def test_the_likeliest_nodes_are_chosen_and_none_without_the_way_to_it(most: int, made: Callable[..., Node]) -> None:
    for chances in ((0.9, 0.8, 0.95), (0.2, 0.9, 0.9), (0.5, 0.5, 0.1), (1.0, 1.0, 1.0)):
        tree = made(*chances).tree(3)
        kept = likeliest(tree, tree.confidence, most)
        assert len(kept) - 1 == min(most, len(tree) - 1)
        assert sum(kept.survival()[1:]) == pytest.approx(sum(sorted(tree.survival()[1:], reverse=True)[:most]))
        assert paths(kept) <= paths(tree)
        assert way(kept) == kept.tokens[1 : len(way(kept)) + 1]


def paths(tree: Tree) -> set[tuple[int, ...]]:
    found = [()]
    for node in range(1, len(tree)):
        found.append((*found[tree.parent[node]], tree.tokens[node]))
    return set(found)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_what_is_beside_the_draft_is_accepted_and_the_text_stays_the_targets(
    monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """A draft that is often wrong: with those it gets further."""
    asked = requests(12, temperature)
    expected = served(plain_engine(target_of(TARGET)), asked)
    tokens = {}
    for nodes in (3, 12):  # a chain and hardly anything beside it; all there is
        link = Beside(draft_model(seed=0).requires_grad_(False), adaptive=True)
        monkeypatch.setattr(link.worker._builder.pace, "width", four_passes)
        monkeypatch.setattr(link.worker._builder.pace, "on_the_spot", lambda *given: 0)  # by the clock
        noisy(link)
        engine = engine_beside(TARGET, link, lookahead=3)
        engine.controller = FixedBudget(nodes)
        assert served(engine, asked) == expected
        counters = source_of(engine).counters
        offered = engine.stats.counters["draft_tokens"] / (counters["ssd_rounds:hit"] + counters["ssd_rounds:miss"])
        assert offered <= nodes
        tokens[nodes] = counters["ssd_tokens:hit"] / counters["ssd_rounds:hit"]
    assert tokens[12] > tokens[3] + 0.1


def noisy(link: Beside) -> None:
    """The draft's first choice is often the target's second."""
    vocabulary = link.worker._runner.vocabulary
    scores = vocabulary.scores
    vocabulary.scores = lambda states: scores(states) + 0.6 * (scores(states).roll(1, -1))  # type: ignore[method-assign]


def four_passes(reaches: list[float], limits: Limits, num_sequences: int, *, made: int, passed: float) -> int:
    """Whatever the time."""
    return min(len(reaches), limits.fan_out * num_sequences) if made < 4 else 0


@pytest.mark.parametrize("adaptive", [False, True])
def test_beside_the_draft_nothing_is_handed_out_where_all_is_prepared_as_in_the_paper(
    monkeypatch: pytest.MonkeyPatch, adaptive: bool
) -> None:
    link = Beside(draft_model(seed=0), adaptive=adaptive)
    monkeypatch.setattr(link.worker._builder.pace, "width", four_passes)
    engine = engine_beside(TARGET, link)
    handed: list[Tree] = []
    source = source_of(engine)
    tree_of = source._tree
    monkeypatch.setattr(source, "_tree", lambda *given: handed.append(tree_of(*given)) or handed[-1])
    served(engine, requests(3, 0.8))
    chains = [tree.parent == list(range(-1, len(tree) - 1)) for tree in handed]
    assert any(len(tree) > 3 for tree in handed)
    assert all(chains) != adaptive
