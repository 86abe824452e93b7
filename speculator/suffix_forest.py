"""Forest: who keeps suffix trees, and drafts from them. `forest` chooses: in C, or where there is no compiler in plain Python.

Both come to the same drafts, token for token, from trees that are the same node for node, and read each other's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kernels.native import library
from speculator.drafts import Tree
from speculator.suffix_native import NativeForest
from speculator.suffix_plain import PlainForest
from speculator.suffix_question import AnyMatch, AnyTree, Question
from speculator.suffix_state import TreeState


class Forest(Protocol):
    """Makes trees and matches, of which it takes no others."""

    def tree(self, max_depth: int = 24, max_suffixes: int = 1 << 17) -> AnyTree:
        """An empty one."""

    def match(self, tree: AnyTree) -> AnyMatch:
        """Of a text that begins."""

    def copied(self, tree: AnyTree) -> AnyTree:
        """One that does not change with `tree`, for a thread to `freeze`."""

    def freeze(self, tree: AnyTree) -> TreeState:
        """As it is now."""

    def thaw(self, state: TreeState) -> AnyTree:
        """The inverse. Raises ValueError where that is no tree's."""

    def draft(self, questions: Sequence[Question]) -> list[Tree]:
        """A draft for each, in this order. Matches catch up with their texts, and what they find is of use."""


def forest() -> Forest:
    """The faster there is."""
    return PlainForest() if library() is None else NativeForest()
