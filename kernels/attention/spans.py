"""Spans: which rows belong to which sequence, and what each row may look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of one sequence, and where its keys and values lie. Its own new keys are the last n of them."""

    start: int
    """First row."""
    num_rows: int
    keys: slice | Tensor
    """L slots of the pool: a slice where they lie in one piece (read without a copy), else an index [L]."""
    ancestors: NDArray[np.uint64] | None = None
    """[n, W] bit-sets over the rows, 64 a word, lowest bit first: of the new rows each sees those marked, itself included. None:
    those up to itself, as in plain text."""

    @property
    def num_keys(self) -> int:
        return self.keys.stop - self.keys.start if isinstance(self.keys, slice) else len(self.keys)


class Spans:
    """The spans of one pass, in order of their rows, with what the layers share of them."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = tuple(spans)
        self._biases: dict[int, Tensor | None] = {}

    @property
    def num_rows(self) -> int:
        return sum(span.num_rows for span in self.spans)

    @cached_property
    def most_keys(self) -> int:
        return max(span.num_keys for span in self.spans)

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """[spans, 7] as `cpu.c` reads it: first row, rows, keys, first slot, address of the slots or 0, address of the ancestors
        or 0, words of an ancestor set. Addresses hold as long as this object."""
        fields: list[tuple[int, ...]] = []
        for span in self.spans:
            first, slots, ancestors, num_words = 0, 0, 0, 0
            if isinstance(span.keys, slice):
                first = span.keys.start
            else:
                assert span.keys.dtype == torch.int64
                assert span.keys.is_contiguous()
                slots = span.keys.data_ptr()
            if span.ancestors is not None:
                assert span.ancestors.dtype == np.uint64
                assert span.ancestors.flags.c_contiguous
                ancestors, num_words = span.ancestors.ctypes.data, span.ancestors.shape[1]
            fields.append((span.start, span.num_rows, span.num_keys, first, slots, ancestors, num_words))
        return np.array(fields, np.int64)

    def bias(self, index: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """[n, L] of a span, to be added to its scores; None where every row sees every key."""
        if index not in self._biases:
            span = self.spans[index]
            self._biases[index] = (
                causal_bias(span.num_rows, span.num_keys, dtype, device)
                if span.ancestors is None
                else tree_bias(span.ancestors, span.num_keys, dtype, device)
            )
        return self._biases[index]


def causal_bias(num_rows: int, num_keys: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """[n, L] for the last n of L keys in order: row i sees all keys but the n - 1 - i last."""
    if num_rows == 1:
        return None
    bias = torch.full((num_rows, num_keys), -torch.inf, dtype=dtype, device=device)
    return bias.triu_(num_keys - num_rows + 1)


def tree_bias(ancestors: NDArray[np.uint64], num_keys: int, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """[n, L] for a tree of n nodes behind a prefix: each node sees the prefix, its ancestors and itself.

    ancestors: [n, W] bit-sets, 64 nodes a word, lowest bit first.
    """
    num_nodes = len(ancestors)
    if num_nodes == 1:
        return None
    nodes = np.arange(num_nodes, dtype=np.uint64)
    seen = ancestors[:, nodes // np.uint64(64)] >> (nodes % np.uint64(64)) & np.uint64(1)
    hidden = np.where(seen == 0, -np.inf, 0.0).astype(np.float32)
    bias = torch.zeros((num_nodes, num_keys), dtype=dtype, device=device)
    bias[:, num_keys - num_nodes :] = torch.from_numpy(hidden).to(device=device, dtype=dtype)
    return bias
