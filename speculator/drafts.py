"""Drafts: the token trees of one step, packed for the whole batch. Tree: one of them, while it grows.

Legend: B sequences, N nodes in all (roots included), W = ceil(max nodes of a tree / 64) words of an ancestor
set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch comes with it, and the settings, which name a law, do without
    from speculator.batch import Sampling
    from speculator.belief import Belief

_WORD = (1 << 64) - 1


class Law(Enum):
    """How drafted tokens are made, which decides how they may be verified."""

    POINT_MASS = "point-mass"
    """Any tokens, from anywhere: the target chooses one token at each node and the child that equals it is
    followed. The text is plain decoding's, token for token."""
    CHAIN_REJECTION = "chain-rejection"
    """One token after another, each drawn from a belief that is kept: accepted or not by rejection sampling
    (`speculator.rejection`). The text has the target's distribution, nothing more."""
    WITHOUT_REPLACEMENT = "without-replacement"
    """The same, with several children of a node, drawn without replacement."""

    def draws(self, sampling: Sampling) -> bool:
        """Whether drafts for an answer that is chosen so are drawn."""
        return self is not Law.POINT_MASS and not sampling.greedy


@dataclass(slots=True)
class Tree:
    """The draft for one sequence, parents before children. Node 0 is the root, the newest token."""

    tokens: list[int]
    parent: list[int] = field(default_factory=lambda: [-1])
    depth: list[int] = field(default_factory=lambda: [0])
    confidence: list[float] = field(default_factory=lambda: [1.0])
    """Chance of acceptance given that the parent was accepted."""
    sources: list[int] = field(default_factory=lambda: [0])
    """Bit-set over `Drafts.source_names`."""
    beliefs: dict[int, Belief] = field(default_factory=dict)
    """By node, for those whose children were drawn, in the order of their numbers: what they were drawn from. Such a tree is not
    to be pruned by what was drawn, nor merged: its law would be another."""

    @classmethod
    def rooted(cls, token: int) -> Tree:
        return cls([token])

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, parent: int, token: int, confidence: float, sources: int) -> int:
        """Appends a child of node `parent`; returns the new node's index."""
        self.tokens.append(token)
        self.parent.append(parent)
        self.depth.append(self.depth[parent] + 1)
        self.confidence.append(confidence)
        self.sources.append(sources)
        return len(self.tokens) - 1

    def child(self, parent: int, token: int) -> int | None:
        """The child of `parent` with `token`; None if there is none."""
        node = parent
        while True:
            try:
                node = self.tokens.index(token, node + 1)
            except ValueError:
                return None
            if self.parent[node] == parent:
                return node

    def children(self, parent: int) -> list[int]:
        """The children of `parent`, in the order they were added."""
        return [node for node in range(parent + 1, len(self)) if self.parent[node] == parent]

    def survival(self) -> list[float]:
        """Chance that each node is reached and accepted: the product of confidences along its path."""
        chance = [1.0] * len(self)
        for node in range(1, len(self)):
            chance[node] = chance[self.parent[node]] * self.confidence[node]
        return chance


def unpacked(sizes: list[int], numbers: list[int], confidences: list[float], *, with_sources: bool = False) -> Iterator[Tree]:
    """Trees as C lays them down: of one after another the tokens, then the parents, then the depths, then, unless all are of one
    source, the sources.

    sizes: nodes of each, the root included.
    """
    start = at = 0
    for size in sizes:
        second, third, fourth = at + size, at + 2 * size, at + 3 * size
        tokens, parents, depths = numbers[at:second], numbers[second:third], numbers[third:fourth]
        at = fourth + size if with_sources else fourth
        sources = numbers[fourth:at] if with_sources else [0] + [1] * (size - 1)
        yield Tree(tokens, parents, depths, confidences[start : start + size], sources)
        start += size


@dataclass(frozen=True)
class Drafts:
    """The trees of one step. An empty tree is its root alone: ordinary decoding.

    The trees are not to be changed any more. Their packed form, the arrays, is made when first asked for:
    what one source proposes is merged and pruned as lists, and only what goes to the target is ever packed.
    """

    trees: tuple[Tree, ...]
    source_names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """The version of each source that drafted."""

    @classmethod
    def pack(
        cls, trees: Sequence[Tree], source_names: tuple[str, ...] = (), versions: Mapping[str, str] | None = None
    ) -> Drafts:
        """Takes trees, whose source bits already refer to `source_names`."""
        return cls(tuple(trees), source_names, versions or {})

    @classmethod
    def empty(cls, roots: Sequence[int]) -> Drafts:
        """Trees without a draft: plain decoding of `roots`, the newest token of each sequence."""
        return cls(tuple(Tree.rooted(token) for token in roots))

    def with_roots(self, tokens: Sequence[int]) -> Drafts:
        """These trees, then an empty one for each of `tokens`: prompts that are through choose their first
        token like any other."""
        return replace(self, trees=self.trees + Drafts.empty(tokens).trees) if tokens else self

    @cached_property
    def offsets(self) -> NDArray[np.int32]:
        """[B + 1] tree i holds nodes offsets[i] to offsets[i + 1]."""
        return np.array([0, *accumulate(map(len, self.trees))], np.int32)

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """[N]"""
        return np.array([token for tree in self.trees for token in tree.tokens], np.int64)

    @cached_property
    def parent(self) -> NDArray[np.int32]:
        """[N] index within the tree; -1 for a root."""
        return np.array([parent for tree in self.trees for parent in tree.parent], np.int32)

    @cached_property
    def depth(self) -> NDArray[np.int32]:
        """[N] 0 for a root."""
        return np.array([depth for tree in self.trees for depth in tree.depth], np.int32)

    @cached_property
    def ancestors(self) -> NDArray[np.uint64]:
        """[N, W] bit j of a row: node j of the same tree is an ancestor, or the node itself."""
        sets: list[int] = []
        for tree in self.trees:
            start = len(sets)
            for node, parent in enumerate(tree.parent):
                sets.append(sets[start + parent] | 1 << node if parent >= 0 else 1)
        words = (max(map(len, self.trees), default=1) + 63) // 64
        if words == 1:
            return np.array(sets, np.uint64).reshape(-1, 1)
        return np.array([[bits >> 64 * word & _WORD for word in range(words)] for bits in sets], np.uint64)

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """[N]"""
        return np.array([chance for tree in self.trees for chance in tree.confidence], np.float32)

    @cached_property
    def sources(self) -> NDArray[np.uint32]:
        """[N] bit-set over `source_names`; 0 for a root."""
        return np.array([bits for tree in self.trees for bits in tree.sources], np.uint32)

    def __len__(self) -> int:
        return len(self.trees)

    @property
    def num_nodes(self) -> int:
        """Nodes in all, roots included: rows of the forward pass."""
        return sum(map(len, self.trees))

    @property
    def num_drafted(self) -> int:
        return self.num_nodes - len(self)

    def tree(self, index: int) -> Tree:
        return self.trees[index]
