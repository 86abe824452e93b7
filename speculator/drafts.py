"""Drafts: the token trees of one step, packed for the whole batch. Tree: one of them, while it grows.

Legend: B sequences, N nodes in all (roots included), W = ceil(max nodes of a tree / 64) words of an ancestor set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Law(Enum):
    """How the drafted tokens were drawn, which decides how they may be verified."""

    POINT_MASS = "point mass"
    """Any tokens, from anywhere: the target chooses one token at each node and the child that equals it is followed."""


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

    def survival(self) -> list[float]:
        """Chance that each node is reached and accepted: the product of confidences along its path."""
        chance = [1.0] * len(self)
        for node in range(1, len(self)):
            chance[node] = chance[self.parent[node]] * self.confidence[node]
        return chance


@dataclass(frozen=True, slots=True)
class Drafts:
    """The trees of one step. An empty tree is its root alone: ordinary decoding."""

    offsets: NDArray[np.int32]
    """[B + 1] tree i holds nodes offsets[i] to offsets[i + 1]."""
    tokens: NDArray[np.int64]
    """[N]"""
    parent: NDArray[np.int32]
    """[N] index within the tree; -1 for a root."""
    depth: NDArray[np.int32]
    """[N] 0 for a root."""
    ancestors: NDArray[np.uint64]
    """[N, W] bit j of a row: node j of the same tree is an ancestor, or the node itself."""
    confidence: NDArray[np.float32]
    """[N]"""
    sources: NDArray[np.uint32]
    """[N] bit-set over `source_names`; 0 for a root."""
    source_names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """The version of each source that drafted."""
    law: Law = Law.POINT_MASS

    @classmethod
    def pack(cls, trees: Sequence[Tree], source_names: tuple[str, ...] = (), versions: Mapping[str, str] | None = None) -> Drafts:
        """Packs trees, whose source bits already refer to `source_names`."""
        sizes = [len(tree) for tree in trees]
        words = (max(sizes, default=1) + 63) // 64
        offsets = np.zeros(len(trees) + 1, np.int32)
        np.cumsum(sizes, out=offsets[1:])
        ancestors = np.zeros((int(offsets[-1]), words), np.uint64)
        for start, tree in zip(offsets.tolist(), trees, strict=False):
            sets: list[int] = []
            for node, parent in enumerate(tree.parent):
                sets.append((sets[parent] if parent >= 0 else 0) | 1 << node)
            for word in range(words):
                ancestors[start : start + len(sets), word] = [bits >> (64 * word) & 0xFFFFFFFFFFFFFFFF for bits in sets]
        return cls(
            offsets,
            np.array([token for tree in trees for token in tree.tokens], np.int64),
            np.array([parent for tree in trees for parent in tree.parent], np.int32),
            np.array([depth for tree in trees for depth in tree.depth], np.int32),
            ancestors,
            np.array([chance for tree in trees for chance in tree.confidence], np.float32),
            np.array([bits for tree in trees for bits in tree.sources], np.uint32),
            source_names,
            versions or {},
        )

    @classmethod
    def empty(cls, roots: Sequence[int]) -> Drafts:
        """Trees without a draft: plain decoding of `roots`, the newest token of each sequence."""
        return cls.pack([Tree.rooted(token) for token in roots])

    def with_roots(self, tokens: Sequence[int]) -> Drafts:
        """These trees, then an empty one for each of `tokens`: prompts that are through choose their first token like any other."""
        if not tokens:
            return self
        added = Drafts.empty(tokens)
        ancestors = np.zeros((len(tokens), self.ancestors.shape[1]), np.uint64)
        ancestors[:, 0] = 1
        return replace(
            self,
            offsets=np.concatenate((self.offsets, self.offsets[-1] + added.offsets[1:])),
            tokens=np.concatenate((self.tokens, added.tokens)),
            parent=np.concatenate((self.parent, added.parent)),
            depth=np.concatenate((self.depth, added.depth)),
            ancestors=np.concatenate((self.ancestors, ancestors)),
            confidence=np.concatenate((self.confidence, added.confidence)),
            sources=np.concatenate((self.sources, added.sources)),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_nodes(self) -> int:
        """Nodes in all, roots included: rows of the forward pass."""
        return len(self.tokens)

    @property
    def num_drafted(self) -> int:
        return self.num_nodes - len(self)

    def tree(self, index: int) -> Tree:
        """A copy of one tree as lists."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return Tree(
            self.tokens[part].tolist(),
            self.parent[part].tolist(),
            self.depth[part].tolist(),
            self.confidence[part].tolist(),
            self.sources[part].tolist(),
        )

    def is_chain(self, index: int) -> bool:
        """Whether no node of the tree has a sibling, so that a causal mask is enough."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return bool((self.depth[part] == np.arange(part.stop - part.start)).all())
