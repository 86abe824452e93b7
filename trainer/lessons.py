"""Lesson: what the teacher makes of one trace; passage: the rows of several lessons that one slice works on.

Legend: P output tokens of a trace, M rows of a passage, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.sizing import padded


@dataclass(frozen=True, slots=True)
class Lesson:
    """The target's states along the output of one trace, or along a run of neighbouring tokens of it.

    Row j chose output token j, so a head of depth k at row j learns what the target would choose at row j + k.
    """

    hidden: Tensor
    """[P, H] behind the last norm."""
    tokens: Tensor
    """[P] int64: the tokens that these states chose."""
    layers: Tensor | None = None
    """[T, L H] of all of the text but its last token, prompt included: the layers side by side that the teacher was asked for."""

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: slice) -> Lesson:
        return Lesson(self.hidden[rows], self.tokens[rows])

    @property
    def num_bytes(self) -> int:
        held = [self.hidden, self.tokens, *([] if self.layers is None else [self.layers])]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def padded(self) -> Tensor:
        """[>= P, H] the states, and zeros up to a shape that is used again and again."""
        return torch.nn.functional.pad(self.hidden, (0, 0, 0, padded(len(self)) - len(self)))


@dataclass(frozen=True, slots=True)
class Passage:
    """Neighbouring rows of some lessons, laid end to end."""

    hidden: Tensor
    """[M, H]"""
    tokens: Tensor
    """[M]"""
    num_ahead: Tensor
    """[M] rows that follow within the same lesson: how deep a head can be taught at each."""

    def __len__(self) -> int:
        return len(self.hidden)

    @classmethod
    def of(cls, runs: Sequence[Lesson]) -> Passage:
        """From runs of neighbouring rows, none of them empty."""
        ahead = [torch.arange(len(run) - 1, -1, -1, device=run.hidden.device) for run in runs]
        return cls(torch.cat([run.hidden for run in runs]), torch.cat([run.tokens for run in runs]), torch.cat(ahead))
