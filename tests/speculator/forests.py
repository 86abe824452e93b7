"""Who keeps suffix trees, for tests that hold for all of them."""

from __future__ import annotations

from array import array

import pytest

from kernels.native import library
from speculator.suffix_forest import Forest
from speculator.suffix_native import NativeForest
from speculator.suffix_plain import PlainForest
from speculator.suffix_question import AnyTree

FORESTS: tuple[Forest, ...] = (PlainForest(), *([NativeForest()] if library() is not None else []))
each_forest = pytest.mark.parametrize("trees", FORESTS, ids=["plain", "native"][: len(FORESTS)])
needs_native = pytest.mark.skipif(len(FORESTS) < 2, reason="no C compiler here")


def forest_of(tree: AnyTree) -> Forest:
    return next(each for each in FORESTS if type(each.tree()) is type(tree))


def numbers(tree: AnyTree) -> dict[str, object]:
    """Every number of a tree, to be compared."""
    state = forest_of(tree).freeze(tree)
    found = {name: getattr(state, name) for name in state.__struct_fields__}
    keys, nodes = array("q", found.pop("edge_keys")), array("i", found.pop("edge_nodes"))
    return found | {"edges": dict(zip(keys, nodes, strict=True)), "leaving": tree.leaving}


def texts_of(tree: AnyTree) -> list[list[int]]:
    """Those that a tree holds, the open one too."""
    return [array("i", text).tolist() for text in forest_of(tree).freeze(tree).texts.values()]
