"""Token identity with plain decoding: the same seed gives the same text, whatever is drafted and whoever shares the batch."""

from __future__ import annotations

import random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speculator.batch import Sampling
from speculator.drafts import Drafts, Tree
from speculator.verify import verify
from tests.speculator.toys import ToyTarget, decode_plainly, random_tree

VOCAB, MAX_TOKENS = 5, 12

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.0, 2.0]),
    top_p=st.sampled_from([0.6, 1.0]),
    top_k=st.sampled_from([0, 3]),
    min_p=st.sampled_from([0.0, 0.1]),
    seed=st.integers(-(2**63), 2**63 - 1),
    choice=st.integers(0, 3),
    max_tokens=st.just(MAX_TOKENS),
    stop_ids=st.sampled_from([frozenset(), frozenset({4})]),
)


def drafted_tree(rng: random.Random, target: ToyTarget, text: list[int], room: int) -> Tree:
    """Random nodes, some of them on the path of the target's likeliest tokens; never deeper than `room`."""
    tree = random_tree(rng, text[-1], VOCAB, rng.randrange(8))
    node, path = 0, list(text)
    for _ in range(rng.randrange(5)):
        token = int(target.logits(path).argmax())
        child = tree.child(node, token)
        node = tree.add(node, token, 0.9, 1) if child is None else child
        path.append(token)
    while max(tree.depth) > room:
        tree = Tree(*(column[:-1] for column in (tree.tokens, tree.parent, tree.depth, tree.confidence, tree.sources)))
    return tree


def decode_together(
    target: ToyTarget, prompts: list[list[int]], samplings: list[Sampling], rng: random.Random
) -> tuple[list[list[int]], int]:
    """Speculative decoding of all prompts; each step takes a random part of those unfinished, in random order.

    Returns the emitted texts and how many drafted tokens were accepted.
    """
    texts = [list(prompt) for prompt in prompts]
    unfinished = set(range(len(prompts)))
    num_accepted = 0
    while unfinished:
        rows = rng.sample(sorted(unfinished), rng.randint(1, len(unfinished)))
        lengths = [len(texts[row]) - len(prompts[row]) for row in rows]
        trees = [
            drafted_tree(rng, target, texts[row], MAX_TOKENS - length - 1) for row, length in zip(rows, lengths, strict=True)
        ]
        logits = torch.cat([target.scores(texts[row], tree) for row, tree in zip(rows, trees, strict=True)])
        verdicts = verify(Drafts.pack(trees), logits, [samplings[row] for row in rows], lengths)
        for row, accepted, emitted in zip(rows, verdicts.accepted, verdicts.emitted, strict=True):
            texts[row] += emitted
            num_accepted += len(accepted)
            if len(texts[row]) - len(prompts[row]) >= MAX_TOKENS or emitted[-1] in samplings[row].stop_ids:
                unfinished.remove(row)
    return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)], num_accepted


@settings(max_examples=150, deadline=None)
@given(st.lists(samplings, min_size=1, max_size=4), st.integers(0, 10**6))
def test_speculation_emits_what_plain_decoding_emits(samplings: list[Sampling], seed: int) -> None:
    rng = random.Random(seed)
    target = ToyTarget(VOCAB, seed % 7)
    prompts = [[rng.randrange(VOCAB) for _ in range(rng.randint(1, 3))] for _ in samplings]
    texts, _ = decode_together(target, prompts, samplings, rng)
    for text, prompt, sampling in zip(texts, prompts, samplings, strict=True):
        assert text == decode_plainly(target, prompt, sampling)


def test_the_trees_of_these_tests_are_accepted_at_times_and_not_always() -> None:
    """Else identity would be no achievement."""
    samplings = [Sampling(temperature=temperature, max_tokens=MAX_TOKENS) for temperature in (0.0, 1.0)]
    emitted = accepted = 0
    for seed in range(40):
        texts, num_accepted = decode_together(ToyTarget(VOCAB, 1), [[1], [2]], samplings, random.Random(seed))
        emitted += sum(map(len, texts))
        accepted += num_accepted
    assert 0.2 < accepted / emitted < 0.8
