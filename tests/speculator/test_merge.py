"""Merging and pruning against exhaustive search."""

from __future__ import annotations

import random
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speculator.drafts import Tree
from speculator.merge import merge, prune
from tests.speculator.toys import paths, random_tree


def expected(trees: list[Tree]) -> float:
    """Expected accepted nodes."""
    return sum(sum(tree.survival()[1:]) for tree in trees)


def size(trees: list[Tree]) -> int:
    return sum(len(tree) - 1 for tree in trees)


def best_subset(trees: list[Tree], num_nodes: int) -> float:
    """The most expected accepted nodes over all prefix-closed choices of at most `num_nodes` nodes."""
    nodes = [(row, node) for row, tree in enumerate(trees) for node in range(1, len(tree))]
    best = 0.0
    for number in range(num_nodes + 1):
        for chosen in combinations(nodes, number):
            kept = set(chosen)
            if all(trees[row].parent[node] == 0 or (row, trees[row].parent[node]) in kept for row, node in kept):
                best = max(best, sum(trees[row].survival()[node] for row, node in kept))
    return best


def grown_best_first(tree: Tree, num_nodes: int) -> set[tuple[int, ...]]:
    """The textbook: the frontier in a heap, one node at a time."""
    survival, found = tree.survival(), paths(tree)
    frontier = [(-survival[node], node) for node in range(len(tree)) if tree.parent[node] == 0]
    heapify(frontier)
    chosen: set[tuple[int, ...]] = set()
    while frontier and len(chosen) < num_nodes:
        _, at = heappop(frontier)
        chosen.add(found[at])
        for node in range(len(tree)):
            if tree.parent[node] == at:
                heappush(frontier, (-survival[node], node))
    return chosen


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 2))
def test_pruning_keeps_the_best_prefix_closed_subset_of_the_batch(seed: int, num_nodes: int, num_trees: int) -> None:
    rng = random.Random(seed)
    trees = [random_tree(rng, 0, 4, 9 // num_trees) for _ in range(num_trees)]
    kept = prune(trees, num_nodes)
    assert size(kept) <= num_nodes
    assert expected(kept) == pytest.approx(best_subset(trees, num_nodes))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20))
def test_pruning_one_tree_is_plain_best_first_growth(seed: int, num_nodes: int) -> None:
    tree = random_tree(random.Random(seed), 0, 5, 16)
    (kept,) = prune([tree], num_nodes)
    assert set(paths(kept)) - {()} == grown_best_first(tree, num_nodes)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_a_pruned_tree_is_a_part_of_the_tree_with_the_likeliest_path_first(seed: int, num_nodes: int) -> None:
    rng = random.Random(seed)
    trees = [random_tree(rng, root, 4, 10) for root in range(3)]
    for tree, kept in zip(trees, prune(trees, num_nodes), strict=True):
        whole = dict(zip(paths(tree), zip(tree.confidence, tree.sources, tree.depth, strict=True), strict=True))
        part = dict(zip(paths(kept), zip(kept.confidence, kept.sources, kept.depth, strict=True), strict=True))
        assert part.items() <= whole.items()
        assert kept.tokens[0] == tree.tokens[0]
        assert len(part) == len(kept)  # no path twice
        assert all(kept.parent[node] < node for node in range(1, len(kept)))
        # down the likeliest children from the root: nodes 1, 2, 3, …
        node = 0
        while children := [child for child in range(len(kept)) if kept.parent[child] == node]:
            assert max(children, key=lambda child: kept.confidence[child]) == node + 1
            node += 1


@pytest.mark.parametrize("seed", range(5))
def test_best_first_meets_sequoias_optimum_when_siblings_are_sorted(seed: int) -> None:
    """Acceptance by sibling rank alone, as Sequoia assumes it (arXiv 2402.12374): its dynamic programme finds no better tree."""
    rng = random.Random(seed)
    chances = sorted((rng.random() for _ in range(4)), reverse=True)
    total = sum(chances) + 0.1
    chances = [chance / total for chance in chances]
    max_depth = 4

    @cache
    def optimum(num_nodes: int, depth: int, rank: int) -> float:
        """Most expected accepted nodes among siblings from `rank` on, with `num_nodes` to spend on them and below them."""
        if num_nodes == 0 or depth == 0 or rank == len(chances):
            return 0.0
        return max(
            chances[rank] * (1 + optimum(below, depth - 1, 0)) + optimum(num_nodes - 1 - below, depth, rank + 1)
            for below in range(num_nodes)
        )

    full = Tree.rooted(0)
    level = [0]
    for _ in range(max_depth):
        level = [full.add(node, token, chance, 1) for node in level for token, chance in enumerate(chances)]
    for num_nodes in (1, 2, 5, 9, 14):
        assert expected(prune([full], num_nodes)) == pytest.approx(optimum(num_nodes, max_depth, 0))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_merging_is_the_union_of_paths_with_all_their_sources(seed: int) -> None:
    rng = random.Random(seed)
    trees = [random_tree(rng, 0, 3, rng.randrange(8)) for _ in range(3)]
    for bit, tree in enumerate(trees):
        tree.sources = [0] + [1 << bit] * (len(tree) - 1)
    columns = [dict(zip(paths(tree), zip(tree.confidence, tree.sources, strict=True), strict=True)) for tree in trees]
    before = [tree.tokens[:] for tree in trees]
    merged = merge(trees)
    assert set(paths(merged)) == set().union(*columns)
    assert len(merged) == len(set(paths(merged)))
    for path, confidence, sources in zip(paths(merged), merged.confidence, merged.sources, strict=True):
        assert confidence == max(column[path][0] for column in columns if path in column)
        assert sources == sum(column[path][1] for column in columns if path in column)
    assert [tree.tokens for tree in trees] == before


def chain(*confidences: float) -> Tree:
    tree = Tree.rooted(0)
    for node, confidence in enumerate(confidences):
        tree.add(node, 7, confidence, 1)
    return tree


def test_a_budget_goes_where_it_is_likeliest_to_pay() -> None:
    sure, unsure = chain(0.9, 0.9, 0.9), chain(0.3, 0.3, 0.3)
    assert [len(tree) - 1 for tree in prune([sure, unsure], 3)] == [3, 0]
    assert [len(tree) - 1 for tree in prune([sure, unsure], 4)] == [3, 1]


def test_no_tree_outgrows_its_own_limit() -> None:
    sure, unsure = chain(0.9, 0.9, 0.9), chain(0.3, 0.3, 0.3)
    assert [len(tree) - 1 for tree in prune([sure, unsure], 3, max_tree=2)] == [2, 1]


@pytest.mark.parametrize(
    ("step_seconds", "kept"),
    [
        ((), 3),
        ((1.0, 1.0, 1.0, 1.0), 3),  # free nodes: all
        ((1.0, 2.0, 3.0, 4.0), 0),  # a node costs a step: none
        ((1.0, 1.45, 1.9, 2.35), 1),  # 1.5 / 1.45, then 1.75 / 1.9
        ((1.0, 1.6, 1.6, 1.6), 3),  # flat after a first expensive node: 1.875 / 1.6 beats 1, though 1.5 / 1.6 does not
        ((1.0, 1.2), 1),  # priced no further
    ],
)
def test_nodes_are_kept_as_long_as_they_pay(step_seconds: tuple[float, ...], kept: int) -> None:
    (tree,) = prune([chain(0.5, 0.5, 0.5)], 3, step_seconds=step_seconds)
    assert len(tree) - 1 == kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6))
def test_what_is_kept_has_the_most_tokens_per_second_of_all_subsets(seed: int, num_nodes: int) -> None:
    rng = random.Random(seed)
    trees = [random_tree(rng, 0, 4, 4) for _ in range(2)]
    seconds = [1.0]
    for _ in range(num_nodes):
        seconds.append(seconds[-1] + rng.choice([0.0, 0.1, 0.3]))
    kept = prune(trees, num_nodes, step_seconds=seconds)
    rate = (len(trees) + expected(kept)) / seconds[size(kept)]
    best = max((len(trees) + best_subset(trees, number)) / seconds[number] for number in range(num_nodes + 1))
    assert rate == pytest.approx(best)
