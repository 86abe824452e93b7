"""Growth: a draft tree that a model grows level by level, reading the likeliest nodes of each.

(The dynamic trees of EAGLE-2, arXiv 2406.16858, section 4.) Chances fall along every way down, so the likeliest nodes of all,
taken together, are a tree again. A tree whose tokens are drawn (`speculator.belief`) is kept as it grows instead: how many
children a node gets, and which nodes get any, is settled before they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappush, heappushpop

from speculator.belief import Belief, chances_drawn
from speculator.draft_runner import Branch, Text
from speculator.drafts import Tree

FEWEST_CHANCE = 0.02
"""Of a way to be accepted, below which nobody reads on."""


class Growth:
    """One sequence's tree. width: nodes read at each level. most: drafted nodes."""

    def __init__(self, root: int, *, width: int, most: int) -> None:
        self._width = width
        self._most = most
        self._beliefs: dict[int, Belief] = {}
        self._tokens = [root]
        self._parent = [-1]
        self._confidence = [1.0]
        self._reach = [1.0]
        """Chance that all of the way to a node is accepted."""
        self._best: list[float] = []
        """The highest of these, a heap, as many as nodes are kept: who is less likely is not among them, nor who follows it."""
        self._newest = [0]
        """Nodes that were read last, whose children come next."""

    @property
    def reading(self) -> list[int]:
        return self._newest

    def sprout(self, tokens: Sequence[Sequence[int]], chances: Sequence[Sequence[float]]) -> None:
        """Adds children: for each of the nodes read last, candidates and their chances, likeliest first."""
        children: list[int] = []
        for node, names, shares in zip(self._newest, tokens, chances, strict=True):
            reach = self._reach[node]
            for token, chance in zip(names, shares, strict=True):
                if not self._keeps(reach * chance):
                    break
                children.append(self._add(node, token, chance))
        self._go_on_from(children, self._best[0] if 0 < len(self._best) == self._most else 0.0)

    def sprout_drawn(self, beliefs: Sequence[Belief], draw: Callable[[Belief, int], list[int]], siblings: int) -> None:
        """Adds children drawn from what the drafter believes at each of the nodes read last; draw: see `belief.draw`."""
        children: list[int] = []
        for node, belief in zip(self._newest, beliefs, strict=True):
            left = self._most - (len(self._tokens) - 1)
            if left > 0:
                self._beliefs[node] = belief
                drawn = draw(belief, min(siblings, left))
                children += [self._add(node, *each) for each in zip(drawn, chances_drawn(len(drawn)), strict=True)]
        self._go_on_from(children if len(self._tokens) - 1 < self._most else [], 0.0)

    def _keeps(self, reach: float) -> bool:
        """Whether a node of that reach may yet be among the likeliest; takes note of it."""
        if len(self._best) < self._most:
            heappush(self._best, reach)
            return True
        return reach > heappushpop(self._best, reach)

    def _add(self, node: int, token: int, chance: float) -> int:
        self._tokens.append(token)
        self._parent.append(node)
        self._confidence.append(chance)
        self._reach.append(self._reach[node] * chance)
        return len(self._tokens) - 1

    def _go_on_from(self, children: list[int], fewest: float) -> None:
        likeliest = sorted(children, key=lambda node: -self._reach[node])[: self._width]
        fewest = max(fewest, FEWEST_CHANCE)
        self._newest = [node for node in likeliest if self._reach[node] >= fewest]

    def tree(self, source: int = 1) -> Tree:
        """Of the likeliest nodes; of all of them where they were drawn."""
        nodes = range(1, len(self._tokens))
        chosen = nodes if self._beliefs else sorted(nodes, key=lambda node: -self._reach[node])[: self._most]
        tree, index = Tree.rooted(self._tokens[0]), {0: 0}
        for node in sorted(chosen):  # parents come before their children
            index[node] = tree.add(index[self._parent[node]], self._tokens[node], self._confidence[node], source)
        tree.beliefs = {index[node]: belief for node, belief in self._beliefs.items()}
        return tree


class StateGrowth(Growth):
    """A tree whose nodes are read from their parents' states alone. fewest_hopes: the sum of the chances of what would be read
    next, below which that is not worth a pass."""

    def __init__(self, root: int, *, width: int, most: int, fewest_hopes: float) -> None:
        super().__init__(root, width=width, most=most)
        self._fewest_hopes = fewest_hopes
        self._row = {-1: 0}
        """Of a node that was read: its place among those of its level."""

    def leaves(self) -> list[tuple[int, int]]:
        """What to read for the next level, and first of all the root: tokens, and the places of their parents among the leaves
        before these. Empty: it is not worth it."""
        if sum(self._reach[node] for node in self._newest) < self._fewest_hopes:
            return []
        found = [(self._tokens[node], self._row[self._parent[node]]) for node in self._newest]
        self._row = {node: row for row, node in enumerate(self._newest)}
        return found


class BranchGrowth(Growth):
    """A tree whose nodes are read behind their ancestors in the pages of the model that drafts. track, text_length: of its text,
    the root included, all of it read."""

    def __init__(self, root: int, track: Text, text_length: int, *, width: int, most: int) -> None:
        super().__init__(root, width=width, most=most)
        self._track = track
        self._text_length = text_length
        self._places: dict[int, tuple[int, ...]] = {0: ()}
        """Of a node that was read and its ancestors, the text left out."""
        self._next_place = text_length
        self._row = {0: 0}
        """Of a node that was read: its place among those of its level."""

    def branches(self) -> list[Branch]:
        """What to read for the next level: the likeliest of the newest nodes. Empty: it is not worth it."""
        found = [self._branch(node) for node in self._newest]
        self._row = {node: row for row, node in enumerate(self._newest)}
        return found

    def _branch(self, node: int) -> Branch:
        parent = self._parent[node]
        behind, place = self._places[parent], self._next_place
        self._places[node] = (*behind, place)
        self._next_place += 1
        return Branch(self._track, self._text_length, self._tokens[node], place, behind, self._row[parent])
