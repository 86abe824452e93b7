"""How the target's choice is made: processed logits plus counter-based Gumbel noise.

The noise is a pure function of (seed, choice, output position, token id), so a sampled answer depends neither on what was
drafted nor on who shared the batch: like a greedy one, it is token-identical to plain decoding with the same seed.

Rejection sampling (`speculator.rejection`) draws more than that at a position: the drafts, and whether they are accepted. Each
has noise of its own, a function of the same key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.candidates import Noise
from kernels.gumbel import chosen, gumbel
from kernels.gumbel.key import keys, uniform
from speculator.batch import Sampling
from speculator.processor import Processor, edited

NEAR_TIE = 1e-4
"""Gap in float32 between the two best scores under which a difference in rounding may change the choice."""
_FEW = 256
"""Top-p looks at so many tokens first: 22 us where sorting 8,192 takes 800 us. They nearly always suffice."""


def process(logits: Tensor, sampling: Sampling) -> Tensor:
    """[V] logits divided by the temperature, with what min-p, top-k and top-p exclude at -inf, in that order.

    Ties at an edge are kept. Not for greedy sampling.
    """
    scores = logits.float() / sampling.temperature
    if sampling.min_p > 0.0:
        # p >= min_p * p_max, in logs: no softmax needed
        scores = scores.masked_fill(scores < scores.max() + math.log(sampling.min_p), -math.inf)
    if 0 < sampling.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -math.inf)
    if sampling.top_p < 1.0:
        scores = scores.masked_fill(scores < _edge(scores, sampling.top_p), -math.inf)
    return scores


def _edge(scores: Tensor, top_p: float) -> Tensor:
    """The least score that top-p keeps: a token goes when those before it already hold top_p, so the first always stays."""
    total = scores.logsumexp(-1)
    vocab_size = scores.shape[-1]
    size = min(_FEW, vocab_size)
    while True:
        ordered = scores.topk(size).values
        probs = (ordered - total).exp()
        num_kept = int((probs.cumsum(-1) - probs < top_p).sum())
        if num_kept < size or size == vocab_size:
            return ordered[num_kept - 1]
        size = vocab_size


_DRAFTING, _ACCEPTING = 1 << 40, 2 << 40
"""Added to the index of a choice, for streams of noise beside the one that the target chooses with."""


def drafting_keys(sampling: Sampling, position: int) -> tuple[int, int]:
    """Of the noise that drafts for output position `position` are drawn with, which is independent of the target's."""
    return keys(sampling.seed, sampling.choice + _DRAFTING, position)


def noise_of(sampling: Sampling, position: int) -> Noise | None:
    """What a drafter may know of the choice at output position `position` beforehand; None: it is greedy."""
    if sampling.greedy:
        return None
    return Noise(sampling.temperature, sampling.seed, sampling.choice, position)


class Foresight:
    """What a drafter may know beforehand of the choices at the output positions from `position` on, token by token.

    A token to which the target gives the probability p is chosen when no other's noise beats its own. The best of the others is
    Gumbel too, so knowing the token's u alone (its noise is -ln(-ln u)) the chance is u^((1 - p) / p): p on average, near 1 or
    near 0 once u is known.
    """

    def __init__(self, sampling: Sampling, position: int) -> None:
        self._sampling = sampling
        self._position = position
        self._keys: list[tuple[int, int]] = []

    def chance(self, ahead: int, token: int, prob: float) -> float:
        """That `token`, of probability `prob`, is chosen `ahead` positions further on."""
        keys_of, sampling = self._keys, self._sampling
        while len(keys_of) <= ahead:
            keys_of.append(keys(sampling.seed, sampling.choice, self._position + len(keys_of)))
        u: float = uniform(*keys_of[ahead], token)
        return math.pow(u, (1.0 - prob) / prob)


def noisy_scores(logits: Tensor, sampling: Sampling, position: int) -> Tensor:
    """[V] the scores whose argmax is the choice at output position `position`."""
    if sampling.greedy:
        return logits.float()
    noise = gumbel(sampling.seed, sampling.choice, position, logits.shape[-1], logits.device)
    return noise.add_(process(logits, sampling))


class Dice(Protocol):
    """What is drawn at one node, by rejection sampling."""

    def accepts(self, number: int, chance: float) -> bool:
        """True with this chance. number: of the child, from 0."""

    def chooses(self, probs: NDArray[np.float64]) -> int:
        """A token, of probabilities [V]."""


class Chooser:
    """Chooses tokens at nodes of one step.

    logits: [N, V]; sampling, processors: [B]; no processors at all: no sequence has any.
    """

    def __init__(
        self, logits: Tensor, sampling: Sequence[Sampling], processors: Sequence[Sequence[Processor]] = ()
    ) -> None:
        self._logits = logits
        self._sampling = sampling
        self._processors = processors or ((),) * len(sampling)
        self._best: list[int] = []
        self._rows: NDArray[np.float32] | None = None
        if logits.device.type == "cpu":
            self._rows = logits.float().numpy()
        elif any(each.greedy for each in sampling):
            # one wait for the device, not one for each node
            self._best = logits.argmax(-1).tolist()

    def __call__(self, row: int, node: int, position: int) -> int:
        """The target's token at `node` (row of the logits) for sequence `row`, at output position `position`."""
        sampling = self._sampling[row]
        if sampling.greedy and not self._processors[row]:
            return int(self._rows[node].argmax()) if self._rows is not None else self._best[node]
        scores = self._scores(row, node)
        if sampling.greedy:
            return _argmax(scores)
        if sampling.filtered:
            return chosen(process(scores, sampling), 1.0, sampling.seed, sampling.choice, position)
        return chosen(scores.float(), sampling.temperature, sampling.seed, sampling.choice, position)

    def probs(self, row: int, node: int) -> NDArray[np.float64]:
        """[V] the target's distribution at `node` for sequence `row`, which is not greedy."""
        found: NDArray[np.float64] = process(self._scores(row, node), self._sampling[row]).double().softmax(-1).cpu().numpy()
        return found

    def dice(self, row: int, position: int) -> Dice:
        """What else is drawn for sequence `row` at output position `position`."""
        return _Dice(self._sampling[row], position)

    def accept(self, row: int, token: int) -> None:
        """Sequence `row` emitted `token`: what looks at its history moves on."""
        for processor in self._processors[row]:
            processor.accept(token)

    def beyond(self, row: int, token: int) -> Self:
        """For whoever tries what would be if sequence `row` emitted `token`: this one has not moved on."""
        if not self._processors[row]:
            return self
        forks = tuple(processor.fork() for processor in self._processors[row])
        other = copy(self)
        other._processors = (*self._processors[:row], forks, *self._processors[row + 1 :])
        other.accept(row, token)
        return other

    def _scores(self, row: int, node: int) -> Tensor:
        """[V] what sequence `row` chooses from at `node`."""
        processors = self._processors[row]
        return edited(self._logits[node], processors) if processors else self._logits[node]


def _argmax(scores: Tensor) -> int:
    """numpy where it can: 1 us for 8,192 scores on one core, where torch.argmax takes 20 us."""
    return int(scores.numpy().argmax() if scores.device.type == "cpu" else scores.argmax())


class _Dice:
    """What the target chooses by itself it chooses with the noise of plain decoding."""

    def __init__(self, sampling: Sampling, position: int) -> None:
        self._sampling = sampling
        self._position = position

    def accepts(self, number: int, chance: float) -> bool:
        sampling = self._sampling
        u: float = uniform(*keys(sampling.seed, sampling.choice + _ACCEPTING, self._position), number)
        return u < chance

    def chooses(self, probs: NDArray[np.float64]) -> int:
        sampling = self._sampling
        noise = gumbel(sampling.seed, sampling.choice, self._position, len(probs), torch.device("cpu"))
        with np.errstate(divide="ignore"):
            return int((np.log(probs) + noise.numpy()).argmax())
