"""Simulated serving takes exactly the steps that real verification takes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speculator.batch import Sampling
from speculator.drafts import Drafts, Tree
from speculator.simulate import Simulated, simulate
from speculator.verify import verify

VOCAB = 4
TEXTS = st.lists(st.integers(0, VOCAB - 1), min_size=2, max_size=24)


def random_tree(root: int, random: np.random.Generator, size: int) -> Tree:
    """Any tree without twins among siblings."""
    tree = Tree.rooted(root)
    for _ in range(size):
        parent, token = int(random.integers(len(tree))), int(random.integers(VOCAB))
        if tree.child(parent, token) is None:
            tree.add(parent, token, 0.5, 1)
    return tree


def served(text: list[int], num_prompt: int, trees: list[Tree]) -> list[int]:
    """Tokens emitted in each step by a greedy target that says `text`, whatever is drafted. trees: one for each root."""
    root, steps = num_prompt, []
    while root < len(text) - 1:
        tree = trees[root]
        logits = torch.zeros(len(tree), VOCAB)
        for node in range(len(tree)):
            # only nodes on the text's path are ever asked, and there the text itself is the target's choice
            said = root + tree.depth[node] + 1
            logits[node, text[said] if said < len(text) else 0] = 1.0
        emitted = verify(Drafts.pack([tree]), logits, [Sampling(temperature=0.0)], [0]).emitted[0]
        steps.append(min(len(emitted), len(text) - 1 - root))
        root += len(emitted)
    return steps


@given(TEXTS, st.integers(0, 2**32 - 1), st.integers(0, 12))
@settings(deadline=None)
def test_steps_are_those_of_real_verification_whatever_the_trees(text: list[int], seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    trees = [random_tree(token, random, size) for token in text]
    simulated = simulate(text, 0, lambda root: trees[root])
    steps = served(text, 0, trees)
    assert simulated.num_steps == len(steps)
    assert simulated.num_tokens == sum(steps) == len(text) - 1


def test_the_first_output_token_takes_no_step() -> None:
    simulated = simulate([9, 9, 9, 1, 2, 3], 3, Tree.rooted)
    assert (simulated.num_tokens, simulated.num_steps) == (2, 2)
    assert simulate([9, 9, 9, 1], 3, Tree.rooted) == Simulated()


def test_the_end_of_the_text_leaves_no_room_for_a_bonus_token() -> None:
    def chain(root: int) -> Tree:
        tree = Tree.rooted(0)
        for node in range(3):
            tree.add(node, 0, 0.9, 1)
        return tree

    simulated = simulate([0] * 6, 0, chain)  # five tokens: a step of four, and one of one
    assert (simulated.num_tokens, simulated.num_steps) == (5, 2)
    assert simulated.tokens_per_step == 2.5


def test_acceptance_is_counted_by_depth() -> None:
    def fork(root: int) -> Tree:
        tree = Tree.rooted(0)
        tree.add(0, 1, 0.5, 1)
        tree.add(0, 2, 0.5, 1)
        tree.add(1, 3, 0.5, 1)  # under the sibling that is never taken
        return tree

    simulated = simulate([0, 2, 2, 2], 0, fork)
    assert simulated == Simulated(3, 2, proposed=(4, 2), reached=(4, 0), accepted=(2, 0))


def test_adding_up_keeps_depths_apart() -> None:
    one = Simulated(4, 2, (2, 1), (2, 1), (1, 1))
    two = Simulated(1, 1, (3,), (3,), (0,))
    assert one + two == two + one == Simulated(5, 3, (5, 1), (5, 1), (1, 1))
