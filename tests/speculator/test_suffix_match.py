"""Following a text through a tree that changes meanwhile."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from speculator.suffix_forest import Forest
from tests.speculator.forests import each_forest

DEPTH = 5
texts = st.lists(st.integers(0, 2), max_size=12)


@each_forest
@settings(max_examples=200, deadline=None)
@given(st.lists(texts, max_size=4), texts)
def test_in_a_tree_at_rest_the_match_is_the_longest_suffix(trees: Forest, past: list[list[int]], text: list[int]) -> None:
    tree = trees.tree(DEPTH)
    for each in past:
        tree.extend(each)
        tree.close()
    match = trees.match(tree)
    for end in range(len(text) + 1):
        match.follow(text[:end])
        assert (match.node, match.length) == tree.longest_suffix(text[:end])


@each_forest
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8))
def test_in_a_tree_that_grows_and_forgets_the_match_is_always_a_suffix_the_tree_holds(
    trees: Forest, rounds: list[tuple[list[int], list[int]]],
) -> None:
    tree = trees.tree(DEPTH, max_suffixes=2 * DEPTH)
    match, text = trees.match(tree), []
    for learnt, said in rounds:
        tree.extend(learnt)
        tree.close()
        text += said
        match.follow(text)
        assert match.length < DEPTH
        assert tree.holds(match.node, text[len(text) - match.length :])
        # shorter only where the tree has learnt a longer one since: never empty where the last token is known
        assert match.length > 0 or not text or tree.walk(text[-1:]) is None or not said
