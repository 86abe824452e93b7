"""The joint law of what speculation emits, enumerated exactly: no sampling error, no tolerance but rounding.

A step's outcome depends on one draw of the target at each node. Every combination of draws is put through `verify`, weighed by
its probability; steps follow one another with other random trees until the text is long enough.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from itertools import product

import pytest
import torch

from speculator.batch import Sampling
from speculator.drafts import Drafts, Tree
from speculator.verify import verify
from tests.speculator.toys import ToyTarget, paths, random_tree

VOCAB, LENGTH = 3, 3
Text = tuple[int, ...]
Law = dict[Text, float]
Step = Callable[[ToyTarget, Text, Tree], Law]


def verified(target: ToyTarget, text: Text, tree: Tree) -> Law:
    """What one step of ours emits: greedy choices from one-hot logits stand for the draws."""
    law: Law = defaultdict(float)
    node_probs = [target.probs((*text, *path)) for path in paths(tree)]
    for draws in product(range(VOCAB), repeat=len(tree)):
        weight = 1.0
        for probs, token in zip(node_probs, draws, strict=True):
            weight *= probs[token]
        logits = torch.nn.functional.one_hot(torch.tensor(draws), VOCAB).float()
        law[verify(Drafts.pack([tree]), logits, [Sampling(temperature=0.0)], [0]).emitted[0]] += weight
    return law


def resampling_after_a_miss(target: ToyTarget, text: Text, tree: Tree) -> Law:
    """Wrong: the draw that matched no child is thrown away and drawn again."""
    law: Law = defaultdict(float)

    def walk(node: int, path: Text, weight: float) -> None:
        probs = target.probs((*text, *path))
        missed = 1.0
        for token in range(VOCAB):
            child = tree.child(node, token)
            if child is not None:
                missed -= probs[token]
                walk(child, (*path, token), weight * probs[token])
        for token in range(VOCAB):
            law[*path, token] += weight * missed * probs[token]

    walk(0, (), 1.0)
    return law


def drawing_for_each_path(target: ToyTarget, text: Text, tree: Tree) -> Law:
    """Wrong: every root-to-leaf path draws its own tokens, also at the nodes it shares, and the longest match wins."""
    law: Law = defaultdict(float)
    leaves = [path for node, path in enumerate(paths(tree)) if node not in tree.parent]
    draws = [list(product(range(VOCAB), repeat=len(leaf))) for leaf in leaves]
    for drawn in product(*draws):
        weight, best = 1.0, ()
        for leaf, tokens in zip(leaves, drawn, strict=True):
            matched = 0
            for depth, token in enumerate(tokens):
                weight *= target.probs((*text, *leaf[:depth]))[token]
                matched = depth + 1 if matched == depth and token == leaf[depth] else matched
            if matched > len(best):
                best = leaf[:matched]
        for token, chance in enumerate(target.probs((*text, *best))):
            law[*best, token] += weight * chance
    return law


def accepting_the_likeliest(target: ToyTarget, text: Text, tree: Tree) -> Law:
    """Wrong: a child that is the target's likeliest token is accepted for certain."""
    law: Law = defaultdict(float)
    node, path = 0, ()
    while True:
        probs = target.probs((*text, *path))
        best = probs.index(max(probs))
        child = tree.child(node, best)
        if child is None:
            for token, chance in enumerate(probs):
                law[*path, token] += chance
            return law
        node, path = child, (*path, best)


def joint_law(target: ToyTarget, step: Step, seed: int) -> Law:
    """The law of the first LENGTH tokens when every step takes one of two random trees of random budgets, by a fair coin."""

    def grow(text: Text, weight: float) -> None:
        if len(text) >= 1 + LENGTH:
            law[text[1 : 1 + LENGTH]] += weight
            return
        rng = random.Random(f"{seed} {text}")
        for _ in range(2):
            tree = random_tree(rng, text[-1], VOCAB, rng.randrange(5))
            for emitted, chance in step(target, text, tree).items():
                grow((*text, *emitted), weight * chance / 2)

    law: Law = defaultdict(float)
    grow((0,), 1.0)
    return law


def plain_law(target: ToyTarget) -> Law:
    law: Law = {}
    for text in product(range(VOCAB), repeat=LENGTH):
        law[text] = 1.0
        for end, token in enumerate(text):
            law[text] *= target.probs((0, *text[:end]))[token]
    return law


def distance(first: Law, second: Law) -> float:
    """Total variation."""
    return sum(abs(first.get(text, 0.0) - second.get(text, 0.0)) for text in {*first, *second}) / 2


@pytest.mark.parametrize("seed", range(4))
def test_the_joint_law_is_plain_samplings_whatever_is_drafted(seed: int) -> None:
    target = ToyTarget(VOCAB, seed)
    law = joint_law(target, verified, seed)
    assert sum(law.values()) == pytest.approx(1.0, abs=1e-12)
    assert distance(law, plain_law(target)) < 1e-12


@pytest.mark.parametrize(
    "wrong", [resampling_after_a_miss, drawing_for_each_path, accepting_the_likeliest], ids=lambda wrong: wrong.__name__
)
def test_wrong_laws_are_found_out(wrong: Step) -> None:
    distances = []
    for seed in range(4):
        target = ToyTarget(VOCAB, seed)
        law = joint_law(target, wrong, seed)
        assert sum(law.values()) == pytest.approx(1.0, abs=1e-9)
        distances.append(distance(law, plain_law(target)))
    assert max(distances) > 0.05
    assert min(distances) > 1e-3


def test_without_a_draft_wrong_laws_are_right_too() -> None:
    """The negative controls go wrong by what they do with a draft, not by how they are enumerated."""
    target = ToyTarget(VOCAB, 0)
    for step in (verified, resampling_after_a_miss, drawing_for_each_path, accepting_the_likeliest):
        law = step(target, (0,), Tree.rooted(0))
        assert distance(law, {(token,): chance for token, chance in enumerate(target.probs((0,)))}) < 1e-12
