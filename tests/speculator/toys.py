"""Toy targets and random trees for tests of the law."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from speculator.batch import Sampling
from speculator.drafts import Drafts, Tree
from speculator.shadow import Shadow
from speculator.verify import verify


def random_tree(rng: random.Random, root: int, vocab_size: int, num_nodes: int) -> Tree:
    """A tree of at most `num_nodes` drafted nodes, siblings distinct, of any shape."""
    tree = Tree.rooted(root)
    for _ in range(num_nodes):
        parent, token = rng.randrange(len(tree)), rng.randrange(vocab_size)
        if tree.child(parent, token) is None:
            tree.add(parent, token, rng.random(), 1)
    return tree


def paths(tree: Tree) -> list[tuple[int, ...]]:
    """The tokens from the root's child to each node; empty for the root."""
    found: list[tuple[int, ...]] = [()]
    for node in range(1, len(tree)):
        found.append((*found[tree.parent[node]], tree.tokens[node]))
    return found


class ToyTarget:
    """Logits that are a fixed random function of the last two tokens."""

    def __init__(self, vocab_size: int, seed: int) -> None:
        self.vocab_size = vocab_size
        generator = torch.Generator().manual_seed(seed)
        self._table = torch.randn(vocab_size, vocab_size, vocab_size, generator=generator) * 2

    def logits(self, text: Sequence[int]) -> Tensor:
        before, last = (0, *text)[-2:]
        return self._table[before, last]

    def probs(self, text: Sequence[int]) -> list[float]:
        probs: list[float] = self.logits(text).double().softmax(-1).tolist()
        return probs

    def scores(self, text: Sequence[int], tree: Tree) -> Tensor:
        """[N, V] the logits at every node of a tree whose root is the last token of `text`."""
        return torch.stack([self.logits((*text, *path)) for path in paths(tree)])


def decode_plainly(target: ToyTarget, prompt: list[int], sampling: Sampling) -> list[int]:
    """One token a step, by the same law."""
    text = list(prompt)
    while len(text) < len(prompt) + sampling.max_tokens:
        drafts = Drafts.empty([text[-1]])
        text += verify(drafts, target.logits(text)[None], [sampling], [len(text) - len(prompt)]).emitted[0]
        if text[-1] in sampling.stop_ids:
            break
    return text[len(prompt) :]


def mean_of(shadow: Shadow, source: str) -> tuple[float, int]:
    """Tokens a step that the source would have had, and how many trees that rests on; 1 where there are none."""
    counters = shadow.counters()
    steps = counters.get(f"shadow_steps:{source}", 0)
    return (counters[f"shadow_tokens:{source}"] / steps if steps else 1.0), int(steps)
