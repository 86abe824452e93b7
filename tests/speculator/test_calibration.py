"""Calibration: confidence becomes what it is worth."""

from __future__ import annotations

import random

import pytest

from speculator.calibration import MAX_CHANCE, Calibration
from speculator.drafts import Tree


def chain(*confidences: float) -> Tree:
    tree = Tree.rooted(0)
    for node, confidence in enumerate(confidences):
        tree.add(node, 1, confidence, 1)
    return tree


def emitted(rng: random.Random, *chances: float) -> tuple[int, ...]:
    """Ones as far as the target agrees with a chain, then a two."""
    said = []
    for chance in chances:
        if rng.random() >= chance:
            return (*said, 2)
        said.append(1)
    return (*said, 2)


def test_a_source_is_believed_until_something_is_known() -> None:
    assert Calibration(2).chances(1, chain(0.8, 0.3)) == [1.0, 0.8, 0.3]


@pytest.mark.parametrize("real", [(0.9, 0.2), (0.3, 0.7)])
def test_confidence_becomes_the_share_accepted_by_depth(real: tuple[float, float]) -> None:
    calibration, rng = Calibration(1), random.Random(0)
    tree = chain(0.6, 0.6)
    for _ in range(2000):
        calibration.observe(0, tree, emitted(rng, *real))
    # about the last hundred count: standard deviation 0.05
    assert calibration.chances(0, tree)[1:] == pytest.approx(real, abs=0.15)


def test_nodes_whose_parent_was_rejected_teach_nothing() -> None:
    calibration, rng = Calibration(1), random.Random(0)
    for _ in range(500):
        calibration.observe(0, chain(0.6, 0.6), emitted(rng, 0.0))
    first, second = calibration.chances(0, chain(0.6, 0.6))[1:]
    assert first < 0.1
    assert second == 0.6


def test_what_lies_beyond_the_emitted_text_teaches_nothing() -> None:
    calibration = Calibration(1)
    for _ in range(50):
        calibration.observe(0, chain(0.6, 0.6), (1,))  # cut short by a limit: the second token is unknown
    assert calibration.chances(0, chain(0.6, 0.6))[2] == 0.6


def test_every_sibling_of_a_reached_node_is_judged() -> None:
    tree = chain(0.5)
    tree.add(0, 3, 0.2, 1)
    calibration = Calibration(1)
    for _ in range(300):
        calibration.observe(0, tree, (3, 9))
    _, first, second = calibration.chances(0, tree)
    assert first < 0.1
    assert second > 0.8


def test_sources_are_calibrated_apart() -> None:
    calibration = Calibration(2)
    for _ in range(300):
        calibration.observe(0, chain(0.5), (2,))
    assert calibration.chances(0, chain(0.5))[1] < 0.1
    assert calibration.chances(1, chain(0.5))[1] == 0.5


def test_a_shift_is_learnt_again() -> None:
    calibration = Calibration(1)
    for _ in range(5000):
        calibration.observe(0, chain(0.5), (2,))
    for _ in range(300):
        calibration.observe(0, chain(0.5), (1, 2))
    assert calibration.chances(0, chain(0.5))[1] > 0.8


def test_new_weights_are_judged_anew_from_where_the_old_stood() -> None:
    tree = chain(0.5)
    kept, loosened = Calibration(1), Calibration(1)
    for calibration in (kept, loosened):
        for _ in range(1000):
            calibration.observe(0, tree, (2,))
    loosened.loosen(0)
    assert loosened.chances(0, tree) == kept.chances(0, tree)
    for calibration in (kept, loosened):
        for _ in range(10):
            calibration.observe(0, tree, (1, 2))
    assert loosened.chances(0, tree)[1] > 2 * kept.chances(0, tree)[1]


def test_nothing_is_ever_certain() -> None:
    calibration = Calibration(1)
    for _ in range(1000):
        calibration.observe(0, chain(0.6), (1, 2))
    assert calibration.chances(0, chain(0.62, 1.0)) == [1.0, MAX_CHANCE, MAX_CHANCE]


def test_siblings_of_one_level_keep_their_order() -> None:
    calibration, rng = Calibration(1), random.Random(1)
    tree = Tree.rooted(0)
    for token, confidence in ((1, 0.24), (3, 0.20), (4, 0.14)):
        tree.add(0, token, confidence, 1)
    for _ in range(200):
        calibration.observe(0, tree, (rng.choice([1, 3, 4, 5]),))
    chances = calibration.chances(0, tree)[1:]
    assert chances == sorted(chances, reverse=True)
