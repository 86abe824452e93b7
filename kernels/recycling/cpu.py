"""Desk: where questions for drafts from recycled tokens are laid out for C (`cpu.c`), and its answers found.

Twelve nodes for each of eight sequences take 48 us where Python takes 470 (greedy), 67 where it takes 1,220 (sampled).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int64
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kernels.native import brief

_MOST_COUNT = 8
"""What `cpu.c` has room for."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How drafts grow: see speculator/recycling_growth.py. first, others, sampled: (base, slope) of a chance."""

    count: int
    """Next tokens that a matrix has of a token."""
    least_survival: float
    least_prob: float
    first: tuple[float, float]
    others: tuple[float, float]
    sampled: tuple[float, float]

    def __post_init__(self) -> None:
        assert 1 <= self.count <= _MOST_COUNT


class _RulesStruct(ctypes.Structure):
    _fields_ = (
        ("count", c_int64),
        *((name, c_double) for name in ("least_survival", "least_prob", "first_base", "first_slope")),
        *((name, c_double) for name in ("others_base", "others_slope", "sampled_base", "sampled_slope")),
    )


class Asked(NamedTuple):
    """One sequence that is drafted for: `struct question`. Matrices are addresses, 0 where there is none."""

    first_tokens: int
    first_probs: int
    second_tokens: int
    second_probs: int
    root: int
    num_nodes: int
    max_depth: int
    """At least 1."""
    sampled: bool
    stream: int
    """Of `kernels.gumbel.key.stream`; 0 where the choice is greedy."""
    position: int


class Desk:
    """Of one drafter."""

    def __init__(self, rules: Rules) -> None:
        self._rules = _RulesStruct(
            *(rules.count, rules.least_survival, rules.least_prob, *rules.first, *rules.others, *rules.sampled)
        )
        self._rules_at = ctypes.addressof(self._rules)
        self._recycle = brief().everdraft_recycle

    def drafts(self, asked: Sequence[Asked]) -> tuple[list[int], list[int], list[float]]:
        """The number of nodes of each draft, roots included; of one draft after another the tokens, the parents and the depths;
        the confidences. Raises MemoryError."""
        questions = np.array(asked, np.uint64)
        most = sum(each.num_nodes + 1 for each in asked)
        sizes, numbers, confidences = np.empty(len(asked), np.int32), np.empty(3 * most, np.int32), np.empty(most)
        num_nodes = self._recycle(
            *(self._rules_at, questions.ctypes.data, len(asked)),
            *(sizes.ctypes.data, numbers.ctypes.data, confidences.ctypes.data),
        )
        if num_nodes < 0:
            raise MemoryError("recycling: no memory for a draft")
        return sizes.tolist(), numbers[: 3 * num_nodes].tolist(), confidences[:num_nodes].tolist()
