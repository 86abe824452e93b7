"""Desk: where questions for drafts are laid out for C (`draft.c`), and its answers found: one call for a step."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p
from dataclasses import dataclass

from kernels.suffix_tree.cpu import functions

_MAX_KINDS = 8
"""What `draft.c` has room for."""

Draft = tuple[list[int], list[int], list[int], list[float]]
"""Tokens, parents, depths and confidences, the root included."""


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
        self._draft = functions().everdraft_suffix_draft
        self._make_room(1)

    def drafts(self, rows: Sequence[int], num_questions: int, tails: Sequence[int], most: int) -> list[Draft]:
        """rows: a `struct question` of each. tails: see there. most: nodes that all may get, roots included.

        Raises MemoryError.
        """
        if most > len(self._tokens):
            self._make_room(2 * most)
        questions, ends, sizes = array("Q", rows), array("i", tails), array("i", bytes(4 * num_questions))
        failed = self._draft(
            *(self._rules_at, questions.buffer_info()[0], num_questions, ends.buffer_info()[0]),
            *(self._struct_at, sizes.buffer_info()[0]),
        )
        if failed:
            raise MemoryError("suffix trees: no memory for a draft")
        found, start = [], 0
        for size in sizes:
            stop = start + size
            tokens, parents, depths = self._tokens[start:stop], self._parents[start:stop], self._depths[start:stop]
            found.append((tokens.tolist(), parents.tolist(), depths.tolist(), self._confidences[start:stop].tolist()))
            start = stop
        return found

    def _make_room(self, num_nodes: int) -> None:
        self._tokens, self._parents, self._depths = (array("i", bytes(4 * num_nodes)) for _ in range(3))
        self._confidences = array("d", bytes(8 * num_nodes))
        places = (self._tokens, self._parents, self._depths, self._confidences)
        self._struct = array("Q", [numbers.buffer_info()[0] for numbers in places])
        self._struct_at, self._rules_at = self._struct.buffer_info()[0], ctypes.addressof(self._rules)
