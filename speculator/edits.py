"""The processors behind `Edits`: bias, allowed tokens and a least length, then penalties on what was said before.

Semantics are vLLM's; presence and frequency are OpenAI's. Legend: V tokens of the target.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pipelines.trace import Edits
from speculator.batch import Sampling
from speculator.processor import Processor


def processors_of(sampling: Sampling, prompt: Sequence[int]) -> tuple[Processor, ...]:
    """What edits the scores of a sequence that has said nothing yet, in the order of the law."""
    edits = sampling.edits
    found: list[Processor] = []
    if edits.logit_bias:
        found.append(Bias(edits.logit_bias))
    if edits.allowed_token_ids:
        found.append(Allowed(edits.allowed_token_ids))
    if edits.min_tokens and sampling.stop_ids:
        found.append(LeastLength(edits.min_tokens, sampling.stop_ids))
    if (edits.repetition_penalty, edits.presence_penalty, edits.frequency_penalty) != (1.0, 0.0, 0.0):
        found.append(Penalties(edits, prompt))
    return tuple(found)


class Bias:
    """Adds to the scores of some tokens."""

    def __init__(self, biases: Sequence[tuple[int, float]]) -> None:
        self._ids = torch.tensor([token for token, _ in biases])
        self._values = torch.tensor([value for _, value in biases], dtype=torch.float32)

    def edit(self, scores: Tensor) -> Tensor:
        self._ids, self._values = self._ids.to(scores.device), self._values.to(scores.device)
        return scores.index_add_(0, self._ids, self._values)

    def accept(self, token: int) -> None:
        """Whatever was said, the bias is the same."""


class Allowed:
    """Leaves some tokens alone, and rules out all others."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = torch.tensor(ids)

    def edit(self, scores: Tensor) -> Tensor:
        self._ids = self._ids.to(scores.device)
        return torch.full_like(scores, -math.inf).index_copy_(0, self._ids, scores[self._ids])

    def accept(self, token: int) -> None:
        """Whatever was said, the same are allowed."""


class LeastLength:
    """Rules out the tokens that would end the text, until it has `min_tokens`."""

    def __init__(self, min_tokens: int, stop_ids: Iterable[int]) -> None:
        self._num_left = min_tokens
        self._ids = torch.tensor(sorted(stop_ids))

    def edit(self, scores: Tensor) -> Tensor:
        if self._num_left > 0:
            self._ids = self._ids.to(scores.device)
            scores.index_fill_(0, self._ids, -math.inf)
        return scores

    def accept(self, token: int) -> None:
        self._num_left -= 1


class Penalties:
    """Repetition counts what prompt and output hold (CTRL, arXiv 1909.05858, section 4.1), presence and frequency the output
    alone."""

    def __init__(self, edits: Edits, prompt: Sequence[int]) -> None:
        self._edits = edits
        self._prompt = torch.tensor(prompt)
        self._unread: list[int] = []
        """Tokens emitted since scores were last edited."""
        self._seen: Tensor | None = None
        """[V] whether prompt or output hold the token; made when the scores tell V and the device."""
        self._counts: Tensor | None = None
        """[V] how often the output holds it."""

    def edit(self, scores: Tensor) -> Tensor:
        edits, (seen, counts) = self._edits, self._read(scores)
        if edits.repetition_penalty != 1.0:
            penalised = torch.where(scores > 0, scores / edits.repetition_penalty, scores * edits.repetition_penalty)
            scores = torch.where(seen, penalised, scores)
        return scores - edits.frequency_penalty * counts - edits.presence_penalty * (counts > 0)

    def accept(self, token: int) -> None:
        self._unread.append(token)

    def _read(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Up to the newest token."""
        if self._seen is None or self._counts is None:
            self._seen = torch.zeros_like(scores, dtype=torch.bool)
            self._seen[self._prompt.to(scores.device)] = True
            self._counts = torch.zeros_like(scores)
        if self._unread:
            ids = torch.tensor(self._unread, device=scores.device)
            self._seen[ids] = True
            self._counts.index_add_(0, ids, torch.ones_like(ids, dtype=torch.float32))
            self._unread.clear()
        return self._seen, self._counts
