"""Desk: where Hydra heads are laid out for C (`cpu.c`), which grows the trees of a step in one call.

Legend: R trees, H hidden size, V tokens of the target, N tokens of the draft vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.linear import Weight
from kernels.linear.address import panels_of, weight_row
from kernels.native import loaded

_NO_TOKEN = -2
"""What `cpu.c` returns where a root is none."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How trees grow: see speculator/growth.py."""

    levels: int
    width: int
    """Nodes read at each level below the root, for one tree."""
    siblings: int
    least_reach: float


class Asked(NamedTuple):
    """One tree: `struct root`."""

    token: int
    most: int
    """Drafted nodes."""
    max_depth: int
    sampled: bool
    stream: int
    """Of `kernels.gumbel.key.stream`; 0 where the choice is greedy."""
    position: int


class Limits(NamedTuple):
    """Of the same tree: `struct limits`."""

    scale: float
    """1 / temperature; 1 where the choice is greedy."""
    fewest_hopes: float


class Grown(NamedTuple):
    """As `speculator.drafts.unpacked` reads it."""

    sizes: list[int]
    numbers: list[int]
    confidences: list[float]
    passes: int
    """Levels that were read."""


class Desk:
    """Of one set of heads, with their weights packed.

    read: [H, 2 H]. bias: [H]. write: [H, H]. embeddings: [V, H] of the target.
    """

    def __init__(self, read: Weight, bias: Tensor, write: Weight, embeddings: Tensor) -> None:
        assert embeddings.dtype == torch.float32
        assert embeddings.is_contiguous()
        self._kept = read, bias, write, embeddings
        """What C is given the addresses of."""
        self._first = [*weight_row(read, bias), *weight_row(write)]
        self._hidden = panels_of(write).num_in
        assert panels_of(read).num_in == 2 * self._hidden == 2 * embeddings.shape[1]
        self._laid: tuple[Weight, Tensor, Rules, NDArray[np.int64]] | None = None
        """The struct `heads` of the last call, and what it was laid down for."""

    def grow(
        self, hidden: Tensor, asked: Sequence[Asked], limits: Sequence[Limits], rules: Rules, words: tuple[Weight, Tensor]
    ) -> Grown:
        """Trees from the target's states [R, H] that chose the roots. words: the draft vocabulary's unembedding [N, H], packed,
        and its tokens [N] int32. Raises MemoryError; IndexError for a root that is no token."""
        states = hidden.contiguous()
        assert states.dtype == torch.float32
        assert states.shape == (len(asked), self._hidden)
        assert len(asked) == len(limits)
        heads = self._heads(words, rules)
        roots, bounds = np.array(asked, np.uint64), np.array(limits, np.float64)
        room = sum(each.most + 1 for each in asked)
        sizes, numbers, confidences = np.empty(len(asked), np.int32), np.empty(3 * room, np.int32), np.empty(room)
        passes = np.zeros(1, np.int64)
        num_nodes = loaded().everdraft_hydra(
            *(heads.ctypes.data, roots.ctypes.data, bounds.ctypes.data, len(asked), rules.least_reach, states.data_ptr()),
            *(sizes.ctypes.data, numbers.ctypes.data, confidences.ctypes.data, passes.ctypes.data, torch.get_num_threads()),
        )
        if num_nodes == _NO_TOKEN:
            raise IndexError(f"hydra: roots {[each.token for each in asked]}, expected 0 to {len(self._kept[-1]) - 1}")
        if num_nodes < 0:
            raise MemoryError("hydra: no memory for the trees")
        return Grown(sizes.tolist(), numbers[: 3 * num_nodes].tolist(), confidences[:num_nodes].tolist(), int(passes[0]))

    def _heads(self, words: tuple[Weight, Tensor], rules: Rules) -> NDArray[np.int64]:
        unembedding, ids = words
        if self._laid is not None:
            weight, tokens, laid_for, heads = self._laid
            if weight is unembedding and tokens is ids and laid_for == rules:
                return heads
        assert ids.dtype == torch.int32
        assert ids.is_contiguous()
        embeddings = self._kept[-1]
        addresses = *self._first, *weight_row(unembedding), embeddings.data_ptr(), len(embeddings), ids.data_ptr()
        heads = np.array([*addresses, rules.levels, rules.width, min(rules.siblings, len(ids))], np.int64)
        self._laid = unembedding, ids, rules, heads
        return heads
