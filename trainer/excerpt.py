"""Excerpt: a text, or as much of it as is read at once, and what the target thought along its answer.

Legend: B texts, T tokens of each, P of them taught, N rows taught of all, D hidden size of a model, H that of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.trainable import TrainableDecoder
from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.sizing import padded


def cut(trace: Kept, max_tokens: int, generator: torch.Generator | None = None) -> tuple[slice, slice]:
    """The tokens of a trace that are read, and the rows of its lesson that lie at the last of them.

    Where prompt and answer are longer than `max_tokens`, so many of them: the last, or with a generator any, as long as the
    answer is reached. Never the very last token: the state behind it chose nothing.
    """
    stop, first = len(trace.tokens) - 1, len(trace.trace.prompt_ids) - 1
    if stop > max_tokens and generator is not None:
        earliest = max(max_tokens, first + 1)
        stop = int(torch.randint(earliest, stop + 1, (), generator=generator))
    start = max(0, stop - max_tokens)
    return slice(start, stop), slice(max(0, start - first), stop - first)


class Readable(Protocol):
    """What a model can be taught on."""

    @property
    def tokens(self) -> Tensor:
        """[T]"""

    @property
    def num_taught(self) -> int:
        """P: rows at the end that are taught."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A text of which nobody said yet what the target thought."""

    tokens: Tensor
    """[T]"""
    num_taught: int

    @classmethod
    def of(cls, trace: Kept, max_tokens: int, generator: torch.Generator | None = None) -> Stretch:
        """A trace's answer behind its prompt; see `cut`."""
        read, taught = cut(trace, max_tokens, generator)
        return cls(torch.tensor(trace.tokens[read]), taught.stop - taught.start)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text, and what the target thought at its last rows."""

    tokens: Tensor
    """[T]"""
    hidden: Tensor
    """[P, H] the target's states at the last P tokens, behind its last norm."""

    @classmethod
    def of(cls, trace: Kept, lesson: Lesson, max_tokens: int, generator: torch.Generator | None = None) -> Excerpt:
        """A trace's answer behind its prompt; see `cut`."""
        read, taught = cut(trace, max_tokens, generator)
        return cls(torch.tensor(trace.tokens[read]), lesson.hidden[taught])

    @property
    def num_taught(self) -> int:
        return len(self.hidden)


def states_at(model: TrainableDecoder, texts: Sequence[Readable]) -> Tensor:
    """[N, D] of a model at the rows that are taught, text after text."""
    length = padded(max(len(each.tokens) for each in texts))
    tokens = torch.zeros(len(texts), length, dtype=torch.int64)
    taught = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, each in enumerate(texts):
        tokens[row, : len(each.tokens)] = each.tokens
        taught[row, len(each.tokens) - each.num_taught : len(each.tokens)] = True
    states: Tensor = model(tokens.to(model.device))
    return states.flatten(0, 1).index_select(0, taught.flatten().nonzero().squeeze(-1).to(model.device))
