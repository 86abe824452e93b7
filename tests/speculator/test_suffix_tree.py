"""The suffix tree against counting by hand."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speculator.suffix_forest import Forest
from speculator.suffix_question import AnyTree
from tests.speculator.forests import each_forest, numbers, texts_of

DEPTH = 4
TEXTS = st.lists(st.lists(st.integers(0, 2), max_size=24), max_size=6)


class Oracle:
    """The suffixes a tree must hold, as plain tuples."""

    def __init__(self, texts: list[list[int]], tree: AnyTree, closed: bool) -> None:
        suffixes = [tuple(text[start : start + DEPTH]) for text in texts for start in range(len(text))]
        inserted = suffixes if closed else suffixes[: len(suffixes) - tree.pending[1]]
        self.held = inserted[-len(tree) :] if len(tree) else []
        self.num_inserted = len(inserted)

    def count(self, pattern: tuple[int, ...]) -> int:
        return sum(suffix[: len(pattern)] == pattern for suffix in self.held)


def grown(trees: Forest, texts: list[list[int]], window: int, close_last: bool) -> AnyTree:
    tree = trees.tree(DEPTH, window)
    for text in texts[:-1]:
        tree.extend(text)
        tree.close()
    if texts:
        tree.extend(texts[-1])
    if close_last:
        tree.close()
    return tree


@each_forest
@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from([8, 9, 16, 1000]), st.booleans())
def test_counts_are_those_of_the_newest_suffixes_whatever_was_evicted(
    trees: Forest, texts: list[list[int]], window: int, close_last: bool
) -> None:
    tree = grown(trees, texts, window, close_last)
    oracle = Oracle(texts, tree, close_last)
    assert len(tree) == min(window, oracle.num_inserted)
    for length in range(1, DEPTH + 1):
        for pattern in product(range(3), repeat=length):
            locus = tree.walk(pattern_list := list(pattern))
            assert (tree.count(locus[0]) if locus else 0) == oracle.count(pattern)
            assert locus is None or tree.holds(locus[0], pattern_list)


@each_forest
@pytest.mark.parametrize("seed", range(150))
def test_counts_are_right_after_long_texts_and_many_evictions(trees: Forest, seed: int) -> None:
    rng = random.Random(seed)
    window, num_kinds = rng.choice([8, 11, 40]), rng.choice([1, 2, 3, 9])
    texts = [[rng.randrange(num_kinds) for _ in range(rng.choice([0, 1, 30, 90]))] for _ in range(rng.randint(1, 5))]
    close_last = rng.random() < 0.5
    tree = grown(trees, texts, window, close_last)
    oracle = Oracle(texts, tree, close_last)
    patterns = {suffix[:length] for suffix in oracle.held for length in range(1, DEPTH + 1)}
    patterns |= {(kind, other) for kind in range(num_kinds) for other in range(num_kinds)}
    for pattern in patterns:
        locus = tree.walk(list(pattern))
        assert (tree.count(locus[0]) if locus else 0) == oracle.count(pattern)
    assert tree.num_nodes <= 2 * len(tree) + 1


@each_forest
@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from([8, 16, 1000]), st.booleans())
def test_children_and_runs_are_what_followed(trees: Forest, texts: list[list[int]], window: int, close_last: bool) -> None:
    tree = grown(trees, texts, window, close_last)
    oracle = Oracle(texts, tree, close_last)
    for length in range(DEPTH):
        for pattern in product(range(3), repeat=length):
            locus = tree.walk(list(pattern))
            if locus is None:
                continue
            followed = {token: oracle.count((*pattern, token)) for token in range(3) if oracle.count((*pattern, token))}
            run = tree.run(*locus, 1)
            if run:
                assert set(followed) == set(run)
            else:
                children = tree.children(locus[0], 3)
                assert {token: count for count, token, _ in children} == followed
            for token in range(3):
                assert bool(tree.step(*locus, token)) == (token in followed)


@each_forest
@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 2), max_size=8), st.booleans())
def test_the_longest_suffix_found_is_the_longest_there_is(
    trees: Forest, texts: list[list[int]], context: list[int], close_last: bool
) -> None:
    tree = grown(trees, texts, 16, close_last)
    oracle = Oracle(texts, tree, close_last)
    longest = max(
        length
        for length in range(min(DEPTH - 1, len(context)) + 1)
        if length == 0 or oracle.count(tuple(context[len(context) - length :]))
    )
    node, length = tree.longest_suffix(context)
    assert length == longest
    assert length == 0 or tree.holds(node, context[len(context) - length :])


@each_forest
@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=40), st.sampled_from([8, 1000]))
def test_what_is_pending_is_the_longest_suffix_that_occurred_before(trees: Forest, text: list[int], window: int) -> None:
    tree = trees.tree(DEPTH, window)
    for end, token in enumerate(text):
        tree.extend([token])
        earlier = [text[start : min(start + DEPTH, end + 1)] for start in range(end + 1)]
        node, length = tree.pending
        assert length < DEPTH
        if window > len(text):  # nothing evicted: exactly the longest that starts twice
            repeated = [
                size
                for size in range(1, DEPTH)
                if size <= end + 1 and sum(each[:size] == text[end + 1 - size : end + 1] for each in earlier) > 1
            ]
            assert length == max(repeated, default=0)
        assert length == 0 or tree.holds(node, text[end + 1 - length : end + 1])


@each_forest
@settings(max_examples=100, deadline=None)
@given(TEXTS, st.sampled_from([8, 1000]), st.booleans())
def test_there_are_at_most_two_nodes_a_suffix(trees: Forest, texts: list[list[int]], window: int, close_last: bool) -> None:
    tree = grown(trees, texts, window, close_last)
    assert tree.num_nodes <= 2 * len(tree) + 1


@each_forest
def test_memory_stays_bounded_however_much_passes_through(trees: Forest) -> None:
    tree = trees.tree(max_depth=8, max_suffixes=100)
    for text in range(200):
        tree.extend((text * 7 + i * i) % 13 for i in range(50))
        tree.close()
    assert len(tree) == 100
    state = numbers(tree)
    assert isinstance(state["columns"], tuple)
    assert len(state["columns"][0]) // 4 <= 2 * 101 + 2  # the columns themselves, free rows included
    assert isinstance(state["edges"], dict)
    assert len(state["edges"]) == tree.num_nodes - 1
    assert sum(map(len, texts_of(tree))) <= 150


@each_forest
def test_a_run_goes_on_along_the_newest_occurrence_beyond_the_depth(trees: Forest) -> None:
    tree = trees.tree(max_depth=4)
    tree.extend([1, 2, 3, 4, 5, 6, 7, 8])
    tree.close()
    node, length = tree.longest_suffix([0, 1, 2])
    assert length == 2
    assert tree.run(node, length, 5) == [3, 4, 5, 6, 7]


@each_forest
def test_children_come_last_used_first(trees: Forest) -> None:
    tree = trees.tree(max_depth=4)
    for follower in (5, 6, 7, 6):
        tree.extend([1, follower])
        tree.close()
    locus = tree.walk([1])
    assert locus is not None
    assert [(token, count) for count, token, _ in tree.children(locus[0], 8)] == [(6, 2), (7, 1), (5, 1)]
    assert len(tree.children(locus[0], 2)) == 2


@each_forest
@pytest.mark.parametrize("arguments", [(1, 100), (4, 7)])
def test_a_tree_too_small_to_work_is_refused(trees: Forest, arguments: tuple[int, int]) -> None:
    with pytest.raises(AssertionError):
        trees.tree(*arguments)
