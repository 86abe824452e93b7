"""Desk: where questions for drafts are laid out for C (`draft.c`), and its answers found: one call for a step."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p
from dataclasses import dataclass

from kernels.native import brief

_MAX_KINDS = 8
"""What `draft.c` has room for."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How drafts grow: see speculator/suffix_growth.py and speculator/suffix_forest.py."""

    least_survival: float
    max_kinds: int
    max_offers: int
    of_use: int
    short_in_request: int
    short_in_tenant: int
    unseen_in_request: tuple[float, ...]
    unseen_in_tenant: tuple[float, ...]

    def __post_init__(self) -> None:
        assert self.max_kinds <= _MAX_KINDS
        assert len(self.unseen_in_request) == len(self.unseen_in_tenant) > 0


class _RulesStruct(ctypes.Structure):
    _fields_ = (
        ("least_survival", c_double),
        *((name, c_int64) for name in ("max_kinds", "max_offers", "of_use")),
        *((name, c_int64) for name in ("short_in_request", "short_in_tenant", "num_weights")),
        *((name, c_void_p) for name in ("unseen_in_request", "unseen_in_tenant")),
    )


class Desk:
    """Of one drafter, which asks from one thread at a time."""

    def __init__(self, rules: Rules) -> None:
        weights = array("d", rules.unseen_in_request + rules.unseen_in_tenant)
        num, address = len(rules.unseen_in_request), weights.buffer_info()[0]
        self._weights = weights  # the struct points there
        self._rules = _RulesStruct(
            *(rules.least_survival, rules.max_kinds, rules.max_offers, rules.of_use, rules.short_in_request),
            *(rules.short_in_tenant, num, address, address + weights.itemsize * num),
        )
        self._rules_at = ctypes.addressof(self._rules)
        self._draft = brief().everdraft_suffix_draft
        self._make_room(1)

    def drafts(self, rows: Sequence[int], num_questions: int, tails: Sequence[int], most: int) -> tuple[list[int], list[float]]:
        """rows: a `struct question` of each. tails: see there. most: nodes that all may get, roots included.

        Returns the number of nodes of each draft, roots included, then of one draft after another the tokens, the parents and
        the depths; and the confidences. Raises MemoryError.
        """
        if most > len(self._chances):
            self._make_room(2 * most)
        questions, ends = array("Q", rows), array("i", tails) if tails else None
        num_nodes = self._draft(
            *(self._rules_at, questions.buffer_info()[0], num_questions, ends and ends.buffer_info()[0]),
            *(self._numbers_at, self._chances_at),
        )
        if num_nodes < 0:
            raise MemoryError("suffix trees: no memory for a draft")
        return self._numbers[: num_questions + 3 * num_nodes].tolist(), self._chances[:num_nodes].tolist()

    def _make_room(self, num_nodes: int) -> None:
        """For drafts of so many nodes, of one each at least."""
        self._numbers, self._chances = array("i", bytes(16 * num_nodes)), array("d", bytes(8 * num_nodes))
        self._numbers_at, self._chances_at = self._numbers.buffer_info()[0], self._chances.buffer_info()[0]
