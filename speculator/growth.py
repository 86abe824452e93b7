"""Growth: a draft tree that a model grows level by level, reading the likeliest nodes of each.

(The dynamic trees of EAGLE-2, arXiv 2406.16858, section 4.) Chances fall along every way down, so the likeliest nodes of all,
taken together, are a tree again. A tree whose tokens are drawn (`speculator.belief`) is kept as it grows instead: how many
children a node gets, and which nodes get any, is settled before they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from speculator.belief import Belief, chances_drawn
from speculator.draft_runner import Branch, Track
from speculator.drafts import Tree

FEWEST_CHANCE = 0.02
"""Of a way to be accepted, below which nobody reads on."""


class Growth:
    """One sequence's tree. track, text_length: its text, the root included, all of it read. width: nodes read at each level.
    most: drafted nodes of a tree whose tokens are drawn."""

    def __init__(self, root: int, track: Track, text_length: int, *, width: int, most: int) -> None:
        self._track = track
        self._text_length = text_length
        self._width = width
        self._most = most
        self._beliefs: dict[int, Belief] = {}
        self._tokens = [root]
        self._parent = [-1]
        self._confidence = [1.0]
        self._reach = [1.0]
        """Chance that all of the way to a node is accepted."""
        self._behind: list[tuple[int, ...]] = [()]
        """Places of a node's ancestors, the text left out."""
        self._place = [-1]
        self._newest = [0]
        """Nodes that were read last, whose children come next."""
        self._next_place = text_length

    @property
    def reading(self) -> list[int]:
        return self._newest

    def sprout(self, tokens: Sequence[Sequence[int]], chances: Sequence[Sequence[float]]) -> None:
        """Adds children: for each of the nodes read last, candidates and their chances, likeliest first."""
        children = [
            self._add(node, token, chance)
            for node, names, shares in zip(self._newest, tokens, chances, strict=True)
            for token, chance in zip(names, shares, strict=True)
        ]
        self._go_on_from(children)

    def sprout_drawn(self, beliefs: Sequence[Belief], draw: Callable[[Belief, int], list[int]], siblings: int) -> None:
        """Adds children drawn from what the drafter believes at each of the nodes read last; draw: see `belief.draw`."""
        children: list[int] = []
        for node, belief in zip(self._newest, beliefs, strict=True):
            left = self._most - (len(self._tokens) - 1)
            if left > 0:
                self._beliefs[node] = belief
                drawn = draw(belief, min(siblings, left))
                children += [self._add(node, *each) for each in zip(drawn, chances_drawn(len(drawn)), strict=True)]
        self._go_on_from(children if len(self._tokens) - 1 < self._most else [])

    def _add(self, node: int, token: int, chance: float) -> int:
        self._tokens.append(token)
        self._parent.append(node)
        self._confidence.append(chance)
        self._reach.append(self._reach[node] * chance)
        self._behind.append(self._behind[node] if node == 0 else (*self._behind[node], self._place[node]))
        self._place.append(-1)
        return len(self._tokens) - 1

    def _go_on_from(self, children: list[int]) -> None:
        likeliest = sorted(children, key=lambda node: -self._reach[node])[: self._width]
        self._newest = [node for node in likeliest if self._reach[node] >= FEWEST_CHANCE]

    def branches(self) -> list[Branch]:
        """What to read for the next level: the likeliest of the newest nodes. Empty: it is not worth it."""
        for node in self._newest:
            self._place[node] = self._next_place
            self._next_place += 1
        return [
            Branch(self._track, self._text_length, self._tokens[node], self._place[node], self._behind[node])
            for node in self._newest
        ]

    def best(self, most: int, source: int = 1) -> Tree:
        """The tree of the likeliest nodes, at most so many; all of them where they were drawn."""
        if self._beliefs:
            most = len(self._tokens)
        chosen = sorted(range(1, len(self._tokens)), key=lambda node: -self._reach[node])[:most]
        tree, index = Tree.rooted(self._tokens[0]), {0: 0}
        for node in sorted(chosen):  # parents come before their children
            index[node] = tree.add(index[self._parent[node]], self._tokens[node], self._confidence[node], source)
        tree.beliefs = {index[node]: belief for node, belief in self._beliefs.items()}
        return tree
