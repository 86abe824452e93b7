"""Belief: the distribution that drafted tokens were drawn from. It stays with them: whoever verifies them by rejection sampling
needs it as it was, whatever has become of the drafter since.

Beliefs are cut to the likeliest tokens and *drawn from as cut*, so that they are small, travel between processes, and are exact.

Legend: N rows, V tokens, M tokens of a belief.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from torch import Tensor

from kernels.gumbel.key import uniforms
from speculator.guesses import Choice
from speculator.law import drafting_keys, process

MOST_TOKENS = 64
"""Of a belief. What a drafter thinks less likely than the first 64 it seldom gets right."""


def chances_drawn(count: int) -> list[float]:
    """Rough chances that tokens drawn one after another are accepted: a token's own probability says little about it."""
    return [0.7 * 0.3**number for number in range(count)]


class Belief(msgspec.Struct, frozen=True, array_like=True):
    """Tokens and their probabilities, which sum to 1; likeliest first, but where Saguaro sampling has changed them."""

    tokens: tuple[int, ...]
    probs: tuple[float, ...]

    def chance(self, token: int) -> float:
        """Of a token; 0 where it is not among them."""
        return self.probs[self.tokens.index(token)] if token in self.tokens else 0.0

    def holds(self, token: int, vocab_size: int) -> bool:
        """Whether it is a distribution over tokens of the vocabulary from which `token` can have been drawn."""
        return (
            len(self.tokens) == len(self.probs) == len(set(self.tokens))
            and all(0 <= each < vocab_size for each in self.tokens)
            and all(0.0 <= each <= 1.0 + 1e-9 for each in self.probs)
            and abs(sum(self.probs) - 1.0) < 1e-6
            and self.chance(token) > 0.0
        )

    def dampened(self, count: int, factor: float) -> Belief:
        """Saguaro sampling (arXiv 2603.03251, definition 14): the first `count` tokens, for which a draft will be prepared, at
        `factor` of their weight. When the target turns down what was drawn, its own choice is likelier to be one of them."""
        if factor == 1.0 or not 0 < count < len(self.probs):
            return self
        weights = [factor * each if at < count else each for at, each in enumerate(self.probs)]
        total = sum(weights)
        return Belief(self.tokens, tuple(each / total for each in weights))


def beliefs(logits: Tensor, choices: Sequence[Choice], ids: Tensor | None = None) -> list[Belief]:
    """[N] the distributions that scores [N, V] mean for choices that are not greedy, filtered as the target's will be.

    ids: as in `guesses`.
    """
    scores = torch.stack(
        [
            process(row, sampling) if sampling.filtered else row.float() / sampling.temperature
            for row, (sampling, _) in zip(logits, choices, strict=True)
        ]
    )
    best = scores.topk(min(MOST_TOKENS, scores.shape[-1]))
    tokens = (best.indices if ids is None else ids[best.indices]).tolist()
    probs = best.values.double().softmax(-1).tolist()
    return [_without_the_excluded(names, shares) for names, shares in zip(tokens, probs, strict=True)]


def _without_the_excluded(tokens: list[int], probs: list[float]) -> Belief:
    size = next((at for at, prob in enumerate(probs) if prob == 0.0), len(probs))
    return Belief(tuple(tokens[:size]), tuple(probs[:size]))


def draw(belief: Belief, count: int, choice: Choice) -> list[int]:
    """Tokens drawn one after another without replacement, in that order; fewer where the belief holds no more.

    The noise is a function of (seed, choice, output position, token) and not that of the target's choice, of which it is
    independent. (Gumbel-top-k: Kool, van Hoof and Welling, arXiv 1903.06059.)
    """
    sampling, position = choice
    noise = -np.log(-np.log(uniforms(*drafting_keys(sampling, position), np.array(belief.tokens, np.uint64))))
    with np.errstate(divide="ignore"):
        order = np.argsort(-(np.log(belief.probs) + noise), kind="stable")
    return [belief.tokens[at] for at in order[:count].tolist() if belief.probs[at] > 0.0]
