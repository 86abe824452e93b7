"""The processors behind `Edits`: bias, allowed tokens, bad words and a least length, then penalties on what was said before.

Semantics are vLLM's; presence and frequency are OpenAI's. Legend: V tokens of the target.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Self

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
    if edits.bad_words:
        found.append(BadWords(edits.bad_words))
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

    def fork(self) -> Self:
        return self


class Allowed:
    """Leaves some tokens alone, and rules out all others."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = torch.tensor(ids)

    def edit(self, scores: Tensor) -> Tensor:
        self._ids = self._ids.to(scores.device)
        return torch.full_like(scores, -math.inf).index_copy_(0, self._ids, scores[self._ids])

    def accept(self, token: int) -> None:
        """Whatever was said, the same are allowed."""

    def fork(self) -> Self:
        return self


class BadWords:
    """Rules out the last token of each word where the output ends in those before it. As with vLLM the prompt does not count."""

    def __init__(self, words: Iterable[Sequence[int]]) -> None:
        self._lasts: dict[tuple[int, ...], list[int]] = {}
        """By the tokens before it."""
        for *before, last in words:
            self._lasts.setdefault(tuple(before), []).append(last)
        self._lengths = sorted({len(before) for before in self._lasts})
        self._tail: tuple[int, ...] = ()
        """The newest tokens of the output, as many as matter."""

    def edit(self, scores: Tensor) -> Tensor:
        for length in self._lengths:
            if length <= len(self._tail):
                scores[self._lasts.get(self._tail[len(self._tail) - length :], [])] = -math.inf
        return scores

    def accept(self, token: int) -> None:
        said = (*self._tail, token)
        self._tail = said[max(0, len(said) - self._lengths[-1]) :]

    def fork(self) -> Self:
        return copy(self)


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

    def fork(self) -> Self:
        return copy(self)


class Penalties:
    """Repetition counts what prompt and output hold (CTRL, arXiv 1909.05858, section 4.1), presence and frequency the output
    alone. Touches only tokens that were said: 28 us a node, where all of 8,192 scores took 98."""

    def __init__(self, edits: Edits, prompt: Sequence[int]) -> None:
        self._edits = edits
        self._places = {token: place for place, token in enumerate(dict.fromkeys(prompt))}
        self._ids = torch.tensor(list(self._places), dtype=torch.int64)
        """[S] the tokens said so far, each once."""
        self._counts = torch.zeros(len(self._places))
        """[S] how often the output holds them."""
        self._unread: list[int] = []
        """Tokens emitted since scores were last edited."""

    def edit(self, scores: Tensor) -> Tensor:
        self._read(scores.device)
        edits, counts, found = self._edits, self._counts, scores[self._ids]
        if edits.repetition_penalty != 1.0:
            found = torch.where(found > 0, found / edits.repetition_penalty, found * edits.repetition_penalty)
        if edits.frequency_penalty:
            found = found - edits.frequency_penalty * counts
        if edits.presence_penalty:
            found = found - edits.presence_penalty * (counts > 0)
        return scores.index_copy_(0, self._ids, found)

    def accept(self, token: int) -> None:
        self._unread.append(token)

    def fork(self) -> Self:
        other = copy(self)
        other._places, other._counts, other._unread = dict(self._places), self._counts.clone(), list(self._unread)
        return other

    def _read(self, device: torch.device) -> None:
        """Up to the newest token."""
        self._ids, self._counts = self._ids.to(device), self._counts.to(device)
        new = [token for token in dict.fromkeys(self._unread) if token not in self._places]
        if new:
            self._places |= {token: place for place, token in enumerate(new, len(self._places))}
            self._ids = torch.cat((self._ids, self._ids.new_tensor(new)))
            self._counts = torch.cat((self._counts, self._counts.new_zeros(len(new))))
        for token in self._unread:
            self._counts[self._places[token]] += 1
        self._unread.clear()
