"""Prepared: what a worker has drafted ahead for one sequence, as a trie of tokens behind its text.

The draft that the target verifies is one way down from the root (`main`); the tokens that it may choose in place of the
draft's own branch off it, and each begins a draft. An outcome (number accepted, token chosen) is thus a node: to look one up is
to walk down what was emitted, whoever drafted it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from speculator.belief import Belief


@dataclass(slots=True, eq=False)
class Node:
    """A token that may come."""

    chance: float = 1.0
    children: dict[int, Node] = field(default_factory=dict)
    main: int | None = None
    """The child that a draft goes on with."""
    belief: Belief | None = None
    """What that child was drawn from, if it was: kept as it was then, whatever the weights are when it is handed out."""

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
