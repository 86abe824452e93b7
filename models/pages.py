"""Pages: where keys and values live, and who holds which.

Legend: M layers, K key-value heads, S slots, D head size.
"""

from __future__ import annotations

import bisect

import torch
from torch import Tensor

from models.config import DecoderConfig


class OutOfPages(Exception):
    """The pool cannot give that many pages now."""


class PagePool:
    """Hands out pages; a run of neighbours where there is one, so that a sequence's keys can be read in one piece."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        self.num_pages = num_pages
        self.page_size = page_size
        self._free = list(range(num_pages))  # sorted
        self._held = bytearray(num_pages)

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return sum(self._held)

    @property
    def num_slots(self) -> int:
        return self.num_pages * self.page_size

    def pages_for(self, num_slots: int) -> int:
        return -(-num_slots // self.page_size)

    def allocate(self, count: int) -> list[int]:
        """`count` pages: the first run long enough, else the lowest free ones. Raises OutOfPages, taking none."""
        if count > len(self._free):
            raise OutOfPages(f"{count} pages asked for, {len(self._free)} of {self.num_pages} free")
        first = self._first_run(count)
        taken = self._free[first : first + count]
        del self._free[first : first + count]
        for page in taken:
            self._held[page] = 1
        return taken

    def release(self, pages: list[int]) -> None:
        """Gives pages back."""
        for page in pages:
            assert self._held[page], f"page {page} is not held"
            self._held[page] = 0
            bisect.insort(self._free, page)

    def check(self) -> None:
        """Free + used == total, and no page is both: run when the engine idles."""
        assert self.num_free + self.num_used == self.num_pages
        assert not any(self._held[page] for page in self._free)

    def _first_run(self, count: int) -> int:
        """Index into the free list of `count` neighbouring pages; 0 if there is no such run."""
        free = self._free
        start = 0
        while start + count <= len(free):
            if free[start + count - 1] - free[start] == count - 1:
                return start
            start += 1
        return 0


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


def slots_of(pages: list[int], page_size: int, start: int, stop: int) -> slice | list[int]:
    """The slots of positions `start` to `stop` of a sequence that holds `pages`: a slice where they lie in one piece."""
    first, last = start // page_size, (stop - 1) // page_size
    if pages[last] - pages[first] == last - first and _ascending(pages, first, last):
        offset = pages[first] * page_size - first * page_size
        return slice(start + offset, stop + offset)
    return [pages[position // page_size] * page_size + position % page_size for position in range(start, stop)]


def _ascending(pages: list[int], first: int, last: int) -> bool:
    return all(pages[index + 1] == pages[index] + 1 for index in range(first, last))
