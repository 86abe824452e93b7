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
    """The target's states along the output of one trace.

    Row j chose output token j, so a head of depth k at row j learns what the target would choose at row j + k.
    """

    hidden: Tensor
    """[P, H] behind the last norm."""

    def __len__(self) -> int:
        return len(self.hidden)

    @property
    def num_bytes(self) -> int:
        return self.hidden.numel() * self.hidden.element_size()

    def padded(self) -> Tensor:
        """[>= P, H] the states, and zeros up to a shape that is used again and again."""
        return torch.nn.functional.pad(self.hidden, (0, 0, 0, padded(len(self)) - len(self)))


@dataclass(frozen=True, slots=True)
class Passage:
    """Neighbouring rows of some lessons, laid end to end."""

    hidden: Tensor
    """[M, H]"""
    num_ahead: Tensor
    """[M] rows that follow within the same lesson: how deep a head can be taught at each."""

    def __len__(self) -> int:
        return len(self.hidden)

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> Passage:
        """From runs of neighbouring rows [m, H], each of one lesson and not empty."""
        ahead = [torch.arange(len(part) - 1, -1, -1) for part in parts]
        return cls(torch.cat(list(parts)), torch.cat(ahead).to(parts[0].device))
