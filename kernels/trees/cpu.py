"""Where trees of several sources are laid out for C (`cpu.c`).

Three sources' trees of twelve nodes for each of eight sequences take 74 us where Python takes 346.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p
from dataclasses import dataclass

from kernels.native import brief


@dataclass(frozen=True, slots=True)
class Limits:
    """What decides how much is kept: see `speculator.merge.prune`."""

    num_nodes: int
    max_tree: int
    step_seconds: Sequence[float] = ()
    draft_seconds: float = 0.0


class _LimitsStruct(ctypes.Structure):
    _fields_ = (
        *((name, c_int64) for name in ("num_nodes", "max_tree", "depths", "levels")),
        *((name, c_double) for name in ("most_chance", "draft_seconds")),
        ("step_seconds", c_void_p),
        ("num_step_seconds", c_int64),
    )


class Combiner:
    """Collects the trees of one step, then makes one tree for each sequence of them.

    factors: the cells of the calibration, `depths` times `levels` for each source and kind of choice.
    most_chance: more than that nothing is worth.
    """

    def __init__(
        self, roots: Sequence[int], factors: array[float], depths: int, levels: int, most_chance: float
    ) -> None:
        self._roots = array("i", roots)
        self._factors, self._depths, self._levels, self._most_chance = factors, depths, levels, most_chance
        self._drafts = array("q")
        self._tokens, self._parents, self._confidences = array("i"), array("i"), array("d")

    def add(
        self, row: int, first_cell: int, bit: int, tokens: list[int], parents: list[int], confidences: list[float]
    ) -> None:
        """What one source drafted for the sequence of a row, roots included. To be called row by row. first_cell: of its factors;
        bit: its own in the sources of a node."""
        self._drafts.extend((row, len(tokens), first_cell, bit))
        self._tokens.extend(tokens)
        self._parents.extend(parents)
        self._confidences.extend(confidences)

    def trees(self, limits: Limits) -> tuple[list[int], list[int], list[float]]:
        """The number of nodes of each tree, roots included; of one tree after another the tokens, the parents, the depths and the
        sources; the confidences. Raises MemoryError."""
        seconds = array("d", limits.step_seconds)
        struct = _LimitsStruct(
            *(limits.num_nodes, limits.max_tree, self._depths, self._levels),
            *(self._most_chance, limits.draft_seconds, seconds.buffer_info()[0], len(seconds)),
        )
        most = len(self._roots) + len(self._tokens)
        sizes, numbers = array("i", bytes(4 * len(self._roots))), array("i", bytes(16 * most))
        confidences = array("d", bytes(8 * most))
        drafts = self._drafts
        num_nodes = brief().everdraft_combine(
            *(_place(self._roots), len(self._roots), _place(drafts), len(drafts) // 4, _place(self._tokens)),
            *(_place(self._parents), _place(self._confidences), _place(self._factors), ctypes.addressof(struct)),
            *(_place(sizes), _place(numbers), _place(confidences)),
        )
        if num_nodes < 0:
            raise MemoryError("trees: no memory to merge them")
        return sizes.tolist(), numbers[: 4 * num_nodes].tolist(), confidences[:num_nodes].tolist()


def _place(numbers: array[int] | array[float]) -> int:
    return numbers.buffer_info()[0]
