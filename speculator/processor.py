"""Processor: what edits a sequence's scores by what it has said so far (penalties, masks, a grammar)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self

from torch import Tensor


class Processor(Protocol):
    """Belongs to one sequence, and only ever moves forward: `verify` asks it at the nodes that the emitted text goes
    through, in order, and what is emitted is final. So no state is kept for the branches of a draft, and none taken back. Where
    several branches have to be compared (`speculator.typical`), each moves a fork."""

    def edit(self, scores: Tensor) -> Tensor:
        """[V] raw float32 scores of the next token -> those it is chosen from. They are a copy: it may edit in place."""

    def accept(self, token: int) -> None:
        """`token` was emitted."""

    def fork(self) -> Self:
        """Another one at the same point of the text, to be moved on without this one: for branches that are only tried."""


def edited(scores: Tensor, processors: Iterable[Processor]) -> Tensor:
    """[V] a float32 copy of the scores, after each of `processors` in turn."""
    scores = scores.float().clone()
    for processor in processors:
        scores = processor.edit(scores)
    return scores
