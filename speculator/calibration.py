"""Calibration: what a source's confidence is worth, learnt from what was emitted.

A source says how sure it is of a node; whether it is right depends on the source, the depth, the traffic, the
version, and on whether the target's choice is greedy. For each (source, greedy or sampled, depth, level of
confidence) the ratio of acceptances to expectations is kept, and confidence is multiplied by it: untouched at
first, on average right soon after, and the order among siblings stays the source's own.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import inf

from speculator.drafts import Tree

MAX_CHANCE = 0.99
DEPTHS = 16
"""Deeper nodes share the last."""
LEVELS = 8
_KEEP = 0.99
"""Weight that the past keeps with each observation in a cell: about the last hundred count."""
_PRIOR = 4.0
"""Expected acceptances that a source's own word counts for."""


class Calibration:
    """Cells for each source, by its index."""

    def __init__(self, num_sources: int) -> None:
        num_cells = num_sources * 2 * DEPTHS * LEVELS
        self._expected = [0.0] * num_cells
        self._accepted = [0.0] * num_cells
        self.factors = array("d", [1.0]) * num_cells
        """What confidence is multiplied by, in each cell: `DEPTHS` times `LEVELS` from `first_cell` on."""

    @staticmethod
    def first_cell(source: int, sampled: bool) -> int:
        """Of a source's cells, for choices of that kind."""
        return (2 * source + sampled) * DEPTHS * LEVELS

    def chances(self, source: int, tree: Tree, sampled: bool = False) -> list[float]:
        """For each node of a source's tree the chance of acceptance given that its parent was accepted; 1 for
        the root, 0 where confidence is no number."""
        factor, base, limit = self.factors, self.first_cell(source, sampled), (DEPTHS - 1) * LEVELS
        return [
            min(raw * factor[base + min((depth - 1) * LEVELS, limit) + min(int(raw * LEVELS), LEVELS - 1)], MAX_CHANCE)
            if depth and 0.0 <= raw < inf
            else float(not depth)
            for raw, depth in zip(tree.confidence, tree.depth, strict=True)
        ]

    def applied(self, source: int, tree: Tree, sampled: bool = False) -> Tree:
        """A source's tree with what its confidence is worth, and the source's bit at every drafted node."""
        bits = [1 << source] * len(tree)
        bits[0] = 0
        return Tree(tree.tokens, tree.parent, tree.depth, self.chances(source, tree, sampled), bits, tree.beliefs)

    def chance(self, source: int, depth: int, raw: float, sampled: bool = False) -> float:
        """The same for one node of that depth, from 1, and confidence."""
        if not 0.0 <= raw < inf:
            return 0.0
        cell = self.first_cell(source, sampled) + min((depth - 1) * LEVELS, (DEPTHS - 1) * LEVELS)
        return min(raw * self.factors[cell + min(int(raw * LEVELS), LEVELS - 1)], MAX_CHANCE)

    def observe(self, source: int, tree: Tree, emitted: Sequence[int], sampled: bool = False) -> None:
        """Learns from a source's own tree, verified or pruned, and the tokens emitted after its root.

        Only nodes whose parent was on the emitted path count: of the others nothing is known.
        """
        expected, accepted, factor = self._expected, self._accepted, self.factors
        tokens, parents, depths, confidence = tree.tokens, tree.parent, tree.depth, tree.confidence
        first = self.first_cell(source, sampled)
        path = [0]
        for node in range(1, len(tokens)):
            depth = depths[node]
            if depth > len(path) or depth > len(emitted) or path[depth - 1] != parents[node]:
                continue
            raw = confidence[node]
            hit = tokens[node] == emitted[depth - 1]
            if hit:
                path[depth:] = [node]
            cell = first + (min(depth, DEPTHS) - 1) * LEVELS + min(int(raw * LEVELS), LEVELS - 1)
            wins = accepted[cell] = _KEEP * accepted[cell] + hit
            hopes = expected[cell] = _KEEP * expected[cell] + raw
            factor[cell] = (wins + _PRIOR) / (hopes + _PRIOR)

    def loosen(self, source: int) -> None:
        """The source has other weights now: what was learnt stays the best guess, but new evidence weighs
        more."""
        start = self.first_cell(source, False)
        for cell in range(start, start + 2 * DEPTHS * LEVELS):
            self._expected[cell] *= 0.1
            self._accepted[cell] *= 0.1
