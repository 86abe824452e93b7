"""A NativeTree as numbers, and back (`state.c`)."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable
from ctypes import c_int64, c_void_p
from dataclasses import dataclass

from kernels.native import brief, loaded
from kernels.suffix_tree.cpu import NativeTree

_COLUMNS = 8
_COUNTS = (
    *("max_depth", "max_suffixes", "num_texts", "num_tokens", "serial", "oldest", "num_rows", "num_free", "num_edges"),
    *("num_leaves", "node", "length", "pending"),
)
_ARRAYS = ("lengths", "used", "tokens", "columns", "free", "leaves", "edge_keys", "edge_nodes")
_WIDE = frozenset({"lengths", "used", "edge_keys"})
"""Of 64 bits; the others have 32."""


class _Struct(ctypes.Structure):
    _fields_ = (*((name, c_int64) for name in _COUNTS), *((name, c_void_p) for name in _ARRAYS))


@dataclass(frozen=True, slots=True)
class Frozen:
    """The fields of `speculator.suffix_state.TreeState`, arrays as bytes."""

    max_depth: int
    max_suffixes: int
    serial: int
    """Of the oldest text."""
    oldest: int
    """Where in it the suffix starts that goes next."""
    texts: tuple[bytes, ...]
    """The last is open."""
    used: tuple[bool, ...]
    columns: tuple[bytes, ...]
    free: bytes
    leaves: tuple[tuple[int, int], ...]
    locus: tuple[int, int, int]
    edge_keys: bytes = b""
    edge_nodes: bytes = b""
    """Not read: they follow from the columns."""


def frozen(tree: NativeTree) -> Frozen:
    """The tree as it is now: 18 ms for 130,000 tokens on a busy machine. Others run meanwhile, and may not change it."""
    struct = _Struct()
    brief().everdraft_suffix_measure(tree.handle, ctypes.addressof(struct))
    sizes = [struct.num_texts, struct.num_texts, struct.num_tokens, _COLUMNS * struct.num_rows]
    sizes += [struct.num_free, 2 * struct.num_leaves, struct.num_edges, struct.num_edges]
    arrays = {name: _zeros(name, size) for name, size in zip(_ARRAYS, sizes, strict=True)}
    _point(struct, arrays)
    loaded().everdraft_suffix_freeze(tree.handle, ctypes.addressof(struct))
    leaves, columns = arrays["leaves"], arrays["columns"].tobytes()
    return Frozen(
        max_depth=struct.max_depth,
        max_suffixes=struct.max_suffixes,
        serial=struct.serial,
        oldest=struct.oldest,
        texts=_parted(arrays["tokens"], arrays["lengths"]),
        used=tuple(map(bool, arrays["used"])),
        columns=tuple(columns[4 * struct.num_rows * at :][: 4 * struct.num_rows] for at in range(_COLUMNS)),
        free=arrays["free"].tobytes(),
        leaves=tuple(zip(leaves[::2], leaves[1::2], strict=True)),
        locus=(struct.node, struct.length, struct.pending),
        edge_keys=arrays["edge_keys"].tobytes(),
        edge_nodes=arrays["edge_nodes"].tobytes(),
    )


def thawed(state: Frozen) -> NativeTree:
    """The inverse. Raises ValueError where the numbers are not those of a tree, MemoryError."""
    rows = len(state.columns[0]) // 4 if state.columns else 0
    if [*map(len, state.columns)] != [4 * rows] * _COLUMNS:
        raise ValueError(f"columns of a suffix tree have {[*map(len, state.columns)]} bytes, expected {_COLUMNS} times as many")
    if not 2 <= state.max_depth <= state.max_suffixes // 2 < 1 << 28:
        raise ValueError(f"a suffix tree of depth {state.max_depth} for {state.max_suffixes} suffixes cannot be")
    leaves = [number for leaf in state.leaves for number in leaf]
    lengths = [len(text) // 4 for text in state.texts]
    arrays = {"lengths": array("q", lengths), "used": array("q", state.used), "tokens": array("i", b"".join(state.texts))}
    arrays |= {"columns": array("i", b"".join(state.columns)), "free": array("i", state.free), "leaves": _ints(leaves)}
    node, length, pending = state.locus
    struct = _Struct(
        *(state.max_depth, state.max_suffixes, len(lengths), sum(lengths), state.serial, state.oldest, rows),
        *(len(state.free) // 4, 0, len(state.leaves), node, length, pending),
    )
    _point(struct, arrays)
    wrong = ctypes.c_int32()
    handle = loaded().everdraft_suffix_thaw(ctypes.addressof(struct), ctypes.addressof(wrong))
    if wrong.value:
        raise ValueError("the numbers of a suffix tree do not fit together")
    return NativeTree.of(handle, state.max_depth)


def _ints(numbers: list[int]) -> array[int]:
    try:
        return array("i", numbers)
    except OverflowError as error:
        raise ValueError(f"leaves of a suffix tree: {error}") from error


def _zeros(name: str, size: int) -> array[int]:
    return array("q", bytes(8 * size)) if name in _WIDE else array("i", bytes(4 * size))


def _point(struct: _Struct, arrays: dict[str, array[int]]) -> None:
    for name, numbers in arrays.items():
        setattr(struct, name, numbers.buffer_info()[0])


def _parted(tokens: array[int], lengths: Iterable[int]) -> tuple[bytes, ...]:
    """The texts one by one."""
    texts, start = [], 0
    for length in lengths:
        texts.append(tokens[start : start + length].tobytes())
        start += length
    return tuple(texts)
