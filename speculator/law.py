"""How the target's choice is made: processed logits plus counter-based Gumbel noise.

The noise is a pure function of (seed, choice, output position, token id), so a sampled answer depends neither on what was drafted nor
on who shared the batch: like a greedy one, it is token-identical to plain decoding with the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.gumbel import gumbel
from speculator.batch import Sampling

NEAR_TIE = 1e-4
"""Gap in float32 between the two best scores under which a difference in rounding may change the choice."""


def process(logits: Tensor, sampling: Sampling) -> Tensor:
    """[V] logits divided by the temperature, with what min-p, top-k and top-p exclude at -inf, in that order.

    Ties at an edge are kept. Not for greedy sampling.
    """
    scores = logits.float() / sampling.temperature
    if sampling.min_p > 0.0:
        # p >= min_p * p_max, in logs: no softmax needed
        scores = scores.masked_fill(scores < scores.max() + torch.log(torch.tensor(sampling.min_p)), -torch.inf)
    if 0 < sampling.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -torch.inf)
    if sampling.top_p < 1.0:
        ordered, order = scores.sort(descending=True)
        probs = ordered.softmax(-1)
        # a token goes when those before it already hold top_p: the first always stays
        scores[order[probs.cumsum(-1) - probs >= sampling.top_p]] = -torch.inf
    return scores


def noisy_scores(logits: Tensor, sampling: Sampling, position: int) -> Tensor:
    """[V] the scores whose argmax is the choice at output position `position`."""
    if sampling.greedy:
        return logits.float()
    noise = gumbel(sampling.seed, sampling.choice, position, logits.shape[-1], logits.device)
    return process(logits, sampling) + noise


class Chooser:
    """Chooses tokens at nodes of one step; greedy choices for all nodes are made at once.

    logits: [N, V]; sampling: [B].
    """

    def __init__(self, logits: Tensor, sampling: Sequence[Sampling]) -> None:
        self._logits = logits
        self._sampling = sampling
        self._best: list[int] | None = None
        if any(each.greedy for each in sampling):
            self._best = _argmax(logits)

    def __call__(self, row: int, node: int, position: int) -> int:
        """The target's token at `node` (row of the logits) for sequence `row`, at output position `position`."""
        sampling = self._sampling[row]
        if sampling.greedy:
            assert self._best is not None
            return self._best[node]
        return int(noisy_scores(self._logits[node], sampling, position).argmax())


def _argmax(logits: Tensor) -> list[int]:
    # numpy: 8 us for 16 rows of 8,192 on two cores, where torch.argmax takes 90 us
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        best: list[int] = logits.numpy().argmax(-1).tolist()
        return best
    return [int(token) for token in logits.argmax(-1).tolist()]
