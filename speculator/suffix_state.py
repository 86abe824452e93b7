"""A suffix tree as bytes and back, for `speculator/suffix_files.py`. A friend of `SuffixTree`: it knows all its fields.

Trees in C come to the same (`speculator/suffix_native.py`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import msgspec

from speculator.suffix_tree import SuffixTree


class TreeState(msgspec.Struct, frozen=True):
    """Every field of a tree: numbers as arrays of the machine's own order."""

    max_depth: int
    max_suffixes: int
    texts: dict[int, bytes]
    edge_keys: bytes
    edge_nodes: bytes
    columns: tuple[bytes, ...]
    free: bytes
    open_text: int
    leaves: tuple[tuple[int, int], ...]
    locus: tuple[int, int, int]
    oldest: tuple[int, int]
    used: tuple[int, ...]


def copied(tree: SuffixTree) -> SuffixTree:
    """One that does not change with `tree`, for a thread to `freeze`: 25 ms for 200,000 tokens on a busy machine, a third of
    what that takes. Texts that are closed are shared."""
    copy = SuffixTree(tree.max_depth, tree._max_suffixes)
    copy._texts = {**tree._texts, tree._open: tree._texts[tree._open][:]}
    copy._edges = tree._edges.copy()
    for column, original in zip(copy._columns, tree._columns, strict=True):
        column[:] = original
    copy._free = tree._free[:]
    copy._open, copy._oldest, copy._used = tree._open, tree._oldest, tree._used.copy()
    copy._leaves.extend(tree._leaves)
    copy._node, copy._length, copy._pending = tree._node, tree._length, tree._pending
    return copy


def freeze(tree: SuffixTree) -> TreeState:
    """The tree as it is now."""
    return TreeState(
        max_depth=tree.max_depth,
        max_suffixes=tree._max_suffixes,
        texts={serial: ints(text) for serial, text in tree._texts.items()},
        edge_keys=array("q", tree._edges.keys()).tobytes(),
        edge_nodes=array("i", tree._edges.values()).tobytes(),
        columns=tuple(column.tobytes() for column in tree._columns),
        free=ints(tree._free),
        open_text=tree._open,
        leaves=tuple(tree._leaves),
        locus=(tree._node, tree._length, tree._pending),
        oldest=tree._oldest,
        used=tuple(sorted(tree._used)),
    )


def thaw(state: TreeState) -> SuffixTree:
    """The inverse of `freeze`."""
    tree = SuffixTree(state.max_depth, state.max_suffixes)
    tree._texts = {serial: listed(text) for serial, text in state.texts.items()}
    tree._edges = dict(zip(array("q", state.edge_keys), array("i", state.edge_nodes), strict=True))
    for column, data in zip(tree._columns, state.columns, strict=True):
        column[:] = array("i", data)
    tree._free = listed(state.free)
    tree._open = state.open_text
    tree._leaves.extend(state.leaves)
    tree._node, tree._length, tree._pending = state.locus
    tree._oldest = state.oldest
    tree._used = set(state.used)
    return tree


def ints(numbers: Iterable[int]) -> bytes:
    """Tokens or nodes, four bytes each."""
    return array("i", numbers).tobytes()


def listed(data: bytes) -> list[int]:
    """The inverse of `ints`."""
    return array("i", data).tolist()
