"""Rejection sampling, enumerated exactly: what is emitted has the target's law whatever the drafter believes.

No sampling error, no tolerance but rounding: every draw of drafter and target falls every way it can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch

from kernels.gumbel.key import keys
from speculator.batch import Sampling
from speculator.belief import MOST_TOKENS, Belief, beliefs, draw
from speculator.drafts import Drafts, Tree
from speculator.law import Chooser, Dice, drafting_keys
from speculator.rejection import settle
from speculator.verify import verify
from tests.speculator.enumeration import Fate, FatefulChooser, drawing, law_of
from tests.speculator.test_exact_law import distance
from tests.speculator.toys import ToyTarget

VOCAB, LENGTH = 3, 3
SAMPLED = Sampling(temperature=1.0)
Text = tuple[int, ...]
Law = dict[Text, float]


def believed(drafter: ToyTarget, text: Sequence[int]) -> Belief:
    return Belief(tuple(range(VOCAB)), tuple(drafter.probs(text)))


def drawn_tree(fate: Fate, drafter: ToyTarget, text: Text, shape: Sequence[int]) -> Tree:
    """A tree with shape[d] children, drawn without replacement, of the first node at depth d."""
    tree, node, path = Tree.rooted(text[-1]), 0, text
    for count in shape:
        belief = believed(drafter, path)
        tree.beliefs[node] = belief
        children = [tree.add(node, token, 0.5, 1) for token in drawing(fate)(belief, count)]
        node, path = children[0], (*path, tree.tokens[children[0]])
    return tree


def emitted(fate: Fate, target: ToyTarget, text: Text, tree: Tree) -> Text:
    scores = target.scores(text, tree)
    return verify(Drafts.pack([tree]), scores, [SAMPLED], [0], partial(FatefulChooser, fate)).emitted[0]


def joint_law(target: ToyTarget, drafter: ToyTarget, shapes: Sequence[Sequence[int]]) -> Law:
    """Of the first LENGTH tokens; each step drafts in one of the shapes, by a fair coin."""

    def run(fate: Fate) -> Text:
        text: Text = (0,)
        while len(text) <= LENGTH:
            shape = shapes[fate.pick([1 / len(shapes)] * len(shapes))]
            text += emitted(fate, target, text, drawn_tree(fate, drafter, text, shape))
        return text[1 : 1 + LENGTH]

    return law_of(run)


def plain_law(target: ToyTarget) -> Law:
    def run(fate: Fate) -> Text:
        text: Text = (0,)
        while len(text) <= LENGTH:
            text += (fate.pick(target.probs(text)),)
        return text[1:]

    return law_of(run)


SHAPES = [
    pytest.param([[1]], id="one token"),
    pytest.param([[1, 1]], id="chain"),
    pytest.param([[2]], id="two, one after the other"),
    pytest.param([[3]], id="every token there is"),
    pytest.param([[2, 1]], id="a spare at the root"),
    pytest.param([[], [1]], id="now and then nothing"),
]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_joint_law_is_the_targets(shapes: list[list[int]], seed: int) -> None:
    target, drafter = ToyTarget(VOCAB, seed), ToyTarget(VOCAB, seed + 100)
    law = joint_law(target, drafter, shapes)
    assert sum(law.values()) == pytest.approx(1.0, abs=1e-12)
    assert distance(law, plain_law(target)) < 1e-12


def test_a_drafter_that_believes_in_few_tokens_changes_nothing() -> None:
    """Beliefs are cut to the likeliest tokens: what is never drawn must still be emitted."""
    target = ToyTarget(VOCAB, 3)
    probs = target.probs((0,))

    def run(fate: Fate) -> int:
        belief = Belief((1,), (1.0,))
        tree = Tree.rooted(0)
        tree.beliefs[0] = belief
        tree.add(0, drawing(fate)(belief, 1)[0], 0.5, 1)
        return emitted(fate, target, (0,), tree)[0]

    assert distance({(token,): weight for token, weight in law_of(run).items()}, {(t,): p for t, p in enumerate(probs)}) < 1e-12


# Wrong laws must be found out, or the enumeration proves nothing.

Settle = Callable[[np.ndarray, Belief, Sequence[int], Dice], tuple[int, "int | None"]]


def accepting_what_is_likeliest(probs: np.ndarray, belief: Belief, drawn: Sequence[int], dice: Dice) -> tuple[int, int | None]:
    """Wrong: a token is taken whenever it is the target's first choice."""
    for number, token in enumerate(drawn):
        if token == int(probs.argmax()):
            return token, number
    return dice.chooses(probs), None


def choosing_from_everything(probs: np.ndarray, belief: Belief, drawn: Sequence[int], dice: Dice) -> tuple[int, int | None]:
    """Wrong: after a rejection the target chooses from all of its law, not from what is left."""
    token, number = settle(probs, belief, drawn, dice)
    return (token, number) if number is not None else (dice.chooses(probs), None)


def as_if_drawn_with_replacement(probs: np.ndarray, belief: Belief, drawn: Sequence[int], dice: Dice) -> tuple[int, int | None]:
    """Wrong for siblings that are all different: the belief is never cut by the ones before."""
    left, theirs = probs.copy(), np.array([belief.chance(token) for token in range(len(probs))])
    for number, token in enumerate(drawn):
        if dice.accepts(number, min(1.0, left[token] / theirs[token])):
            return token, number
        less = np.maximum(left - theirs, 0.0)
        left = less / less.sum() if less.sum() > 0 else left
    return dice.chooses(left), None


def with_another_belief(probs: np.ndarray, belief: Belief, drawn: Sequence[int], dice: Dice) -> tuple[int, int | None]:
    """Wrong: the belief of newer weights, not the one that was drawn from."""
    newer = Belief(belief.tokens, tuple(reversed(belief.probs)))
    return settle(probs, newer, drawn, dice)


@pytest.mark.parametrize(
    ("wrong", "shape"),
    [
        (accepting_what_is_likeliest, [1]),
        (choosing_from_everything, [1]),
        (as_if_drawn_with_replacement, [2]),
        (with_another_belief, [1]),
    ],
)
def test_wrong_laws_are_found_out(monkeypatch: pytest.MonkeyPatch, wrong: Settle, shape: list[int]) -> None:
    target, drafter = ToyTarget(VOCAB, 0), ToyTarget(VOCAB, 100)
    right = joint_law(target, drafter, [shape])
    monkeypatch.setattr("speculator.walk.settle", wrong)
    law = joint_law(target, drafter, [shape])
    assert sum(law.values()) == pytest.approx(1.0, abs=1e-9)
    assert distance(right, plain_law(target)) < 1e-12
    assert distance(law, plain_law(target)) > 0.01


@pytest.mark.parametrize("factor", [0.7, 0.1, 0.0])
def test_saguaro_sampling_is_exact_with_the_belief_it_drew_from(factor: float) -> None:
    target, drafter = ToyTarget(VOCAB, 5), ToyTarget(VOCAB, 6)

    def law(settled: Callable[[Belief, Belief], Belief]) -> dict[int, float]:
        def run(fate: Fate) -> int:
            plain = believed(drafter, (0,))
            order = sorted(range(VOCAB), key=lambda token: -plain.probs[token])
            plain = Belief(tuple(order), tuple(plain.probs[token] for token in order))
            damp = plain.dampened(1, factor)
            tree = Tree.rooted(0)
            tree.beliefs[0] = settled(plain, damp)
            tree.add(0, drawing(fate)(damp, 1)[0], 0.5, 1)
            return emitted(fate, target, (0,), tree)[0]

        return law_of(run)

    plainly = {(token,): prob for token, prob in enumerate(target.probs((0,)))}
    right = {(token,): weight for token, weight in law(lambda plain, damp: damp).items()}
    wrong = {(token,): weight for token, weight in law(lambda plain, damp: plain).items()}
    assert distance(right, plainly) < 1e-12
    assert distance(wrong, plainly) > 1e-3 * (1 - factor)


def test_saguaro_sampling_leaves_more_of_the_law_to_what_is_prepared() -> None:
    """Theorem 15: the smaller the factor, the likelier the target's own choice is one of the first tokens."""
    probs = np.array(ToyTarget(VOCAB, 7).probs((0,)))
    order = np.argsort(-probs)
    belief = Belief(tuple(order.tolist()), tuple(probs[order].tolist()))
    shares = []
    for factor in (0.9, 0.5, 0.1):
        q = np.zeros(VOCAB)
        damp = belief.dampened(1, factor)
        q[list(damp.tokens)] = damp.probs
        left = np.maximum(probs - q, 0)
        shares.append(left[order[0]])
    assert 0 < shares[0] < shares[1] < shares[2]


# What is drawn in earnest.


def test_tokens_are_drawn_from_the_belief_and_without_replacement() -> None:
    belief = Belief((4, 7, 9), (0.6, 0.3, 0.1))
    count = 20_000
    pairs = [tuple(draw(belief, 2, (Sampling(temperature=1.0, seed=seed), 3))) for seed in range(count)]
    assert all(len(set(pair)) == 2 for pair in pairs)
    for first, chance in zip(belief.tokens, belief.probs, strict=True):
        found = sum(pair[0] == first for pair in pairs) / count
        assert abs(found - chance) < 4.5 * math.sqrt(chance * (1 - chance) / count)
    # the second, after the first: 0.3 / 0.4 after 4
    after = [pair[1] for pair in pairs if pair[0] == 4]
    assert abs(after.count(7) / len(after) - 0.75) < 4.5 * math.sqrt(0.75 * 0.25 / len(after))


def test_drafts_acceptances_and_choices_are_drawn_independently() -> None:
    """Else the law would be another: a draft that shares the target's noise is accepted by another rule."""
    probs = torch.tensor([0.5, 0.5]).log()
    belief, count = Belief((0, 1), (0.5, 0.5)), 8000
    drafted, chosen, accepted = [], [], []
    for seed in range(count):
        sampling = Sampling(temperature=1.0, seed=seed)
        chooser = Chooser(probs[None], [sampling])
        dice = chooser.dice(0, 0)
        drafted.append(draw(belief, 1, (sampling, 0))[0])
        chosen.append(chooser(0, 0, 0))
        accepted.append(dice.accepts(0, 0.5))
        assert dice.chooses(np.array([0.5, 0.5])) == chosen[-1], "what the target chooses by itself is plain decoding's choice"
    for one, other in ((drafted, chosen), (drafted, accepted), (chosen, accepted)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / math.sqrt(count)


def test_the_law_of_a_whole_step_in_earnest() -> None:
    """No fate, real noise: frequencies over seeds against the target's law, for a chain of two with a spare at its root."""
    target, drafter = ToyTarget(VOCAB, 8), ToyTarget(VOCAB, 9)
    count, seen = 30_000, dict.fromkeys(range(VOCAB * VOCAB), 0)
    for seed in range(count):
        sampling = Sampling(temperature=1.0, seed=seed)
        text: Text = (0,)
        while len(text) < 3:
            tree, node, path = Tree.rooted(text[-1]), 0, text
            for depth, siblings in enumerate((2, 1)):
                belief = believed(drafter, path)
                tree.beliefs[node] = belief
                drawn = draw(belief, siblings, (sampling, len(text) - 1 + depth))
                children = [tree.add(node, token, 0.5, 1) for token in drawn]
                node, path = children[0], (*path, drawn[0])
            text += verify(Drafts.pack([tree]), target.scores(text, tree), [sampling], [len(text) - 1]).emitted[0]
        seen[text[1] * VOCAB + text[2]] += 1
    square = 0.0
    for pair, found in seen.items():
        first, second = divmod(pair, VOCAB)
        expected = count * target.probs((0,))[first] * target.probs((0, first))[second]
        square += (found - expected) ** 2 / expected
    assert square < 32.0, "chi-square with 8 degrees of freedom: passed by chance once in 10,000"


def test_beliefs_follow_temperature_and_filters() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 300, generator=generator) * 3
    cool, filtered = Sampling(temperature=0.5), Sampling(temperature=1.0, top_k=5)
    first, second = beliefs(logits.clone(), [(cool, 0), (filtered, 0)])
    assert len(first.tokens) == MOST_TOKENS
    best = (logits[0] / 0.5).topk(MOST_TOKENS)
    assert list(first.tokens) == best.indices.tolist()
    assert first.probs == pytest.approx(best.values.double().softmax(-1).tolist(), abs=1e-9)
    assert len(second.tokens) == 5
    ids = torch.arange(1000, 1300, dtype=torch.int32)
    (named,) = beliefs(logits[:1].clone(), [(cool, 0)], ids)
    assert named.tokens == tuple(1000 + token for token in first.tokens)


def test_a_belief_knows_what_it_can_have_been() -> None:
    belief = Belief((1, 2), (0.75, 0.25))
    assert belief.holds(1, 3)
    assert not belief.holds(0, 3), "it was not among them"
    assert not belief.holds(1, 2), "2 is no token"
    for tokens, probs in (((1, 2), (0.75, 0.3)), ((1, 1), (0.5, 0.5)), ((1,), (0.5, 0.5)), ((1, 2), (1.5, -0.5))):
        assert not Belief(tokens, probs).holds(1, 3)


def test_keys_of_drafts_are_not_those_of_choices() -> None:
    sampling = Sampling(seed=3, choice=1)
    assert drafting_keys(sampling, 5) not in {drafting_keys(sampling, 6), keys(3, 1, 5)}
