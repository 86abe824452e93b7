"""Trees and their packed form."""

from __future__ import annotations

import random

import numpy as np
import pytest

from speculator.drafts import Drafts, Tree
from tests.speculator.toys import random_tree


def test_packed_arrays_say_what_the_trees_say() -> None:
    rng = random.Random(0)
    trees = [random_tree(rng, 7, 50, size) for size in (0, 5, 12)]
    drafts = Drafts.pack(trees, ("a",), {"a": "1"})
    assert len(drafts) == 3
    assert drafts.num_nodes == sum(map(len, trees))
    assert drafts.num_drafted == drafts.num_nodes - 3
    for row, tree in enumerate(trees):
        part = slice(drafts.offsets[row], drafts.offsets[row + 1])
        for column in ("tokens", "parent", "depth", "sources"):
            assert getattr(drafts, column)[part].tolist() == getattr(tree, column)
        assert np.allclose(drafts.confidence[part], tree.confidence)


@pytest.mark.parametrize("size", [3, 63, 64, 130])
def test_ancestor_sets_hold_the_path_from_the_root_and_nothing_else(size: int) -> None:
    tree = random_tree(random.Random(size), 1, 10_000, size)
    drafts = Drafts.pack([Tree.rooted(1), tree])
    words = -(-len(tree) // 64)
    assert drafts.ancestors.shape == (1 + len(tree), words)
    for node in range(len(tree)):
        path, at = set(), node
        while at >= 0:
            path.add(at)
            at = tree.parent[at]
        bits = sum(int(word) << (64 * index) for index, word in enumerate(drafts.ancestors[1 + node]))
        assert {other for other in range(len(tree)) if bits >> other & 1} == path


def test_roots_added_are_empty_trees_behind_the_others() -> None:
    tree = random_tree(random.Random(1), 3, 9, 4)
    drafts = Drafts.pack([tree], ("a",), {"a": "1"}).with_roots([8, 9])
    assert drafts.trees == (tree, Tree.rooted(8), Tree.rooted(9))
    assert drafts.tokens[-2:].tolist() == [8, 9]
    assert (drafts.source_names, drafts.versions) == (("a",), {"a": "1"})


def test_no_sequences_make_empty_arrays() -> None:
    drafts = Drafts.empty([])
    assert (len(drafts), drafts.num_nodes, drafts.num_drafted) == (0, 0, 0)
    assert drafts.offsets.tolist() == [0]
    assert drafts.ancestors.shape == (0, 1)


def test_survival_is_the_product_of_confidences_along_the_path() -> None:
    tree = Tree.rooted(1)
    a = tree.add(0, 2, 0.5, 1)
    tree.add(0, 3, 0.25, 1)
    tree.add(a, 4, 0.5, 1)
    assert tree.survival() == [1.0, 0.5, 0.25, 0.25]


def test_a_child_is_found_by_parent_and_token() -> None:
    tree = Tree.rooted(1)
    a, b = tree.add(0, 2, 0.5, 1), tree.add(0, 3, 0.25, 1)
    under_b = tree.add(b, 2, 0.5, 1)
    assert tree.child(0, 2) == a
    assert tree.child(b, 2) == under_b
    assert tree.child(a, 2) is None
    assert tree.child(0, 1) is None  # the root's own token is no child
