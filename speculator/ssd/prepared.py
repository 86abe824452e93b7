"""Prepared: what a worker has drafted ahead for one sequence, as a trie of tokens behind its text.

The draft that the target verifies is one way down from the root (`main`); the tokens that it may choose in place of the
draft's own branch off it, and each begins a draft. An outcome (number accepted, token chosen) is thus a node: to look one up is
to walk down what was emitted, whoever drafted it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from speculator.belief import Belief
from speculator.drafts import Tree

Leaf = tuple[int, int, float]
"""A token beside a draft: how many of the draft's own come before it, the token, its chance."""


@dataclass(slots=True, eq=False)
class Node:
    """A token that may come."""

    chance: float = 1.0
    children: dict[int, Node] = field(default_factory=dict)
    main: int | None = None
    """The child that a draft goes on with."""
    belief: Belief | None = None
    """What that child was drawn from, if it was: kept as it was then, whatever the weights are when it is handed out."""
    others: tuple[tuple[int, float], ...] = ()
    """Tokens that may come in place of that child, and their chances."""

    def add(self, token: int, chance: float, *, main: bool, belief: Belief | None = None) -> Node:
        """The child of that token, which may have been there."""
        child = self.children.get(token)
        if child is None:
            child = self.children[token] = Node(chance)
        if main:
            self.main, self.belief = token, belief
        return child

    def walk(self, tokens: Iterable[int]) -> Node | None:
        """The node that these tokens lead to; None where nobody foresaw them."""
        node: Node | None = self
        for token in tokens:
            if node is None:
                return None
            node = node.children.get(token)
        return node

    def tree(self, depth: int) -> Tree:
        """All that may be handed out: the main way down, at most so far, and what may come in place of each of its tokens."""
        tree, node, at = Tree.rooted(-1), self, 0
        while node.main is not None and tree.depth[at] < depth:
            for token, chance in node.others:
                tree.add(at, token, chance, 1)
            main = node.main
            node = node.children[main]
            at = tree.add(at, main, node.chance, 1)
        return tree

    def draft(self, most: int) -> tuple[list[int], list[float], list[Belief | None]]:
        """The tokens of the main way down, at most so many, their chances, and what each was drawn from."""
        tokens: list[int] = []
        chances: list[float] = []
        beliefs: list[Belief | None] = []
        node = self
        while node.main is not None and len(tokens) < most:
            tokens.append(node.main)
            beliefs.append(node.belief)
            node = node.children[node.main]
            chances.append(node.chance)
        return tokens, chances, beliefs


def likeliest(tree: Tree, chances: Sequence[float], most: int) -> tuple[int, list[Leaf]]:
    """How long a way, and which leaves beside it, of a tree of `Node.tree`: its likeliest nodes, at most so many.

    chances: by node, that it is chosen, given that its parent was.
    """
    reach = [1.0] * len(tree)
    for node in range(1, len(tree)):
        reach[node] = reach[tree.parent[node]] * chances[node]
    # of equals the ones above come first, so that none is chosen without the way to it
    chosen = sorted(range(1, len(tree)), key=lambda node: (-reach[node], tree.depth[node]))[:most]
    on_the_way = {*tree.parent, len(tree) - 1} - {-1, 0}  # the last of all is the end of the way
    leaves = [(tree.depth[node] - 1, tree.tokens[node], tree.confidence[node]) for node in chosen if node not in on_the_way]
    return len(chosen) - len(leaves), sorted(leaves)
