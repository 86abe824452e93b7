"""Pages: where keys and values live, and who holds which.

Legend: M layers, K key-value heads, S slots, D head size.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.config import DecoderConfig


class OutOfPages(Exception):
    """The pool cannot give that many pages now."""


class PagePool:
    """Hands out pages; a run of neighbours where there is one, so that a sequence's keys can be read in one piece.

    A page may have several holders: it is free again when the last of them has given it back.
    """

    def __init__(self, num_pages: int, page_size: int) -> None:
        self.num_pages = num_pages
        self.page_size = page_size
        self._free = list(range(num_pages))  # sorted
        self._holders = [0] * num_pages

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return sum(holders > 0 for holders in self._holders)

    @property
    def num_slots(self) -> int:
        return self.num_pages * self.page_size

    def pages_for(self, num_slots: int) -> int:
        return -(-num_slots // self.page_size)

    def holders(self, page: int) -> int:
        """How many hold a page."""
        return self._holders[page]

    def allocate(self, count: int, after: int | None = None) -> list[int]:
        """`count` pages: those right behind page `after` if they are free, else the first run long enough, else the lowest free
        ones. Raises OutOfPages, taking none."""
        if count > len(self._free):
            raise OutOfPages(f"{count} pages asked for, {len(self._free)} of {self.num_pages} free")
        first = self._run_behind(after, count)
        taken = self._free[first : first + count]
        del self._free[first : first + count]
        for page in taken:
            self._holders[page] = 1
        return taken

    def share(self, pages: Sequence[int]) -> None:
        """One more holder for each of these pages, which are held already."""
        for page in pages:
            assert self._holders[page], f"page {page} is not held"
            self._holders[page] += 1

    def release(self, pages: Sequence[int]) -> None:
        """Gives pages back."""
        for page in pages:
            assert self._holders[page], f"page {page} is not held"
            self._holders[page] -= 1
            if not self._holders[page]:
                bisect.insort(self._free, page)

    def check(self) -> None:
        """Free + used == total, and no page is both: run when the engine idles."""
        assert self.num_free + self.num_used == self.num_pages
        assert not any(self._holders[page] for page in self._free)

    def _run_behind(self, after: int | None, count: int) -> int:
        """Index into the free list of the pages to take."""
        free = self._free
        if after is not None and count:
            first = bisect.bisect(free, after)
            if free[first : first + count] == list(range(after + 1, after + 1 + count)):
                return first
        return self._first_run(count)

    def _first_run(self, count: int) -> int:
        """Index into the free list of `count` neighbouring pages; 0 if there is no such run."""
        free = self._free
        start = 0
        while start + count <= len(free):
            if free[start + count - 1] - free[start] == count - 1:
                return start
            start += 1
        return 0


class PageTable:
    """The pages of one text in order, and with them the slot of each of its positions."""

    def __init__(self, page_size: int, pages: Sequence[int] = ()) -> None:
        self._page_size = page_size
        self.ids: list[int] = []
        """Of the pages. To be read only."""
        self._slots = np.empty(0, np.int64)
        self._in_one_piece = True
        self.extend(pages)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def last(self) -> int | None:
        """The page behind which the next would best lie."""
        return self.ids[-1] if self.ids else None

    def extend(self, pages: Sequence[int]) -> None:
        """Appends pages."""
        if not pages:
            return
        joined = [*self.ids[-1:], *pages]
        self._in_one_piece = self._in_one_piece and joined == list(range(joined[0], joined[0] + len(joined)))
        self.ids += pages
        firsts = np.array(pages, np.int64)[:, None] * self._page_size
        self._slots = np.concatenate((self._slots, (firsts + np.arange(self._page_size)).ravel()))

    def slot(self, position: int) -> int:
        return int(self._slots[position])

    def slots(self, start: int, stop: int) -> NDArray[np.int64]:
        """[stop - start] the slots of these positions."""
        assert stop <= len(self._slots), f"{stop} positions, pages for {len(self._slots)}"
        return self._slots[start:stop]

    def keys(self, stop: int) -> slice | NDArray[np.int64]:
        """The slots of the first `stop` positions: a slice where they lie in one piece, which is read without a copy."""
        slots = self.slots(0, stop)
        return slice(int(slots[0]), int(slots[0]) + stop) if self._in_one_piece and stop else slots


class KeyValuePages:
    """The keys and values of a decoder for every slot: two tensors [M, K, S, D]."""

    def __init__(self, config: DecoderConfig, num_slots: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (config.num_layers, config.num_kv_heads, num_slots, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    def move(self, source: Tensor, destination: Tensor) -> None:
        """Copies slots `source` [R] to `destination` [R], in every layer; all reads come before all writes."""
        for pages in (self.keys, self.values):
            pages.index_copy_(2, destination, pages.index_select(2, source))

