"""Trees of several sources made into one for each sequence: in C as in Python."""

from __future__ import annotations

import random
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.native import library
from kernels.trees import Limits
from speculator.belief import Belief
from speculator.calibration import Calibration
from speculator.combine import Proposed, combine, combine_plainly
from speculator.drafts import Tree
from tests.speculator.toys import random_tree

NUM_SOURCES = 3


def practised(rng: random.Random) -> Calibration:
    calibration = Calibration(NUM_SOURCES)
    for _ in range(200):
        tree = random_tree(rng, 0, 4, 8)
        emitted = [rng.randrange(4) for _ in range(5)]
        calibration.observe(rng.randrange(NUM_SOURCES), tree, emitted, rng.random() < 0.5)
    return calibration


def proposed(rng: random.Random) -> Proposed:
    """Of some of the sources, of few tokens, so that they often agree."""
    root = rng.randrange(9)
    trees = {source: random_tree(rng, root, 4, rng.randrange(20)) for source in range(NUM_SOURCES) if rng.random() < 0.7}
    return Proposed(root, trees, rng.random() < 0.5)


@pytest.mark.skipif(library() is None, reason="no C compiler")
@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(0, 40), st.integers(1, 12), st.booleans())
def test_trees_combined_in_c_are_those_in_python(
    seed: int, num_rows: int, num_nodes: int, max_tree: int, priced: bool
) -> None:
    rng = random.Random(seed)
    calibration, rows = practised(rng), [proposed(rng) for _ in range(num_rows)]
    seconds = [1.0]
    while len(seconds) <= num_nodes and priced:
        seconds.append(seconds[-1] + rng.random() / 8)
    limits = Limits(num_nodes, max_tree, seconds if priced else (), rng.random() / 4)
    assert combine(rows, calibration, limits) == combine_plainly(rows, calibration, limits)


def test_equal_chances_go_to_the_earlier_row_and_the_earlier_node() -> None:
    rows = []
    for _ in range(3):
        tree = Tree.rooted(0)
        for token in (1, 2):
            tree.add(0, token, 0.4, 1)
        rows.append(Proposed(0, {0: tree}, sampled=False))
    limits = Limits(3, 8)
    combined = combine(rows, Calibration(1), limits)
    assert [tree.tokens for tree in combined] == [[0, 1, 2], [0, 1], [0]]
    assert combined == combine_plainly(rows, Calibration(1), limits)


@pytest.mark.parametrize("wrong", [nan, inf, -inf, -0.5])
def test_confidence_that_is_no_number_is_no_chance(wrong: float) -> None:
    tree = Tree.rooted(0)
    for token, confidence in ((1, wrong), (2, 0.4), (3, wrong)):
        tree.add(0, token, confidence, 1)
    calibration, limits = Calibration(1), Limits(3, 8)
    rows = [Proposed(0, {0: tree}, sampled=False)]
    (combined,) = combine(rows, calibration, limits)
    assert combined.tokens == [0, 2, 1, 3]
    assert combined.confidence == [1.0, 0.4, 0.0, 0.0]
    assert [combined] == combine_plainly(rows, calibration, limits)
    assert calibration.chance(0, 1, wrong) == 0.0


def test_what_was_drawn_for_a_sequence_stays_as_it_is() -> None:
    drawn, other = Tree.rooted(5), Tree.rooted(5)
    drawn.add(0, 1, 0.5, 1)
    drawn.beliefs[0] = Belief((1, 2), (0.5, 0.5))
    other.add(0, 3, 0.9, 1)
    (tree,) = combine([Proposed(5, {0: drawn, 1: other}, sampled=True)], Calibration(2), Limits(8, 8))
    assert tree.tokens == [5, 1]
    assert tree.beliefs == drawn.beliefs
