"""Prepared: what a worker has drafted ahead for one sequence, as a trie of tokens behind its text.

The draft that the target verifies is one way down from the root (`main`) and what may come beside it; the tokens that the
target may choose in place of the draft's own branch off it, and each begins a draft. An outcome (number accepted, token
chosen) is thus a node: to look one up is to walk down what was emitted, whoever drafted it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from speculator.belief import Belief
from speculator.drafts import Tree


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

    def add(self, token: int, chance: float, *, main: bool = False, belief: Belief | None = None) -> Node:
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
        """All that may be handed out, at most so deep: the main way down, then what branches off it."""
        tree = Tree.rooted(-1)
        self._grow(tree, 0, depth)
        return tree

    def _grow(self, tree: Tree, at: int, depth: int) -> None:
        node, steps = self, [(self, at)]
        while node.main is not None and tree.depth[at] < depth:
            if node.belief is not None:
                tree.beliefs[at] = node.belief
            main = node.main
            node = node.children[main]
            at = tree.add(at, main, node.chance, 1)
            steps.append((node, at))
        for node, at in steps[:-1]:
            for token, chance in node.others:
                beside, child = tree.add(at, token, chance, 1), node.children.get(token)
                if child is not None:
                    child._grow(tree, beside, depth)


def likeliest(tree: Tree, chances: Sequence[float], most: int) -> Tree:
    """Its likeliest nodes, at most so many, in their order.

    chances: by node, that it is chosen, given that its parent was.
    """
    reach = [1.0] * len(tree)
    for node in range(1, len(tree)):
        reach[node] = reach[tree.parent[node]] * chances[node]
    # of equals the ones above come first, so that none is chosen without the way to it
    chosen = sorted(range(1, len(tree)), key=lambda node: (-reach[node], tree.depth[node]))[:most]
    kept, places = Tree.rooted(tree.tokens[0]), {0: 0}
    for node in sorted(chosen):
        places[node] = kept.add(places[tree.parent[node]], tree.tokens[node], tree.confidence[node], 1)
    return kept


def way(tree: Tree) -> list[int]:
    """The tokens of its first nodes, each behind the one before: of a tree of `Node.tree` the main way."""
    length = 0
    while length + 1 < len(tree) and tree.parent[length + 1] == length:
        length += 1
    return tree.tokens[1 : length + 1]
