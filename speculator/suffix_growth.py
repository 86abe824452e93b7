"""Growing a draft from places where the end of a text occurred before, best first."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from operator import itemgetter
from typing import Protocol

from speculator.drafts import Tree
from speculator.law import Foresight

MIN_SURVIVAL = 0.02
"""A node less likely to be reached and accepted does not pay on any machine measured."""
MAX_KINDS = 8
"""Tokens that followed which are looked at, those used last first."""
MAX_OFFERS = 4
"""Of them, how many may become nodes."""
_MAX_MATCH = 128


class Occurrences(Protocol):
    """What followed what: a `SuffixTree`, or the hits of a look-up in a datastore. A locus is (node, length)."""

    def count(self, node: int) -> int:
        """Occurrences of a node."""

    def run(self, node: int, length: int, limit: int) -> list[int]:
        """Up to `limit` tokens that follow a locus without a branch; empty at one."""

    def children(self, node: int, limit: int) -> list[tuple[int, int, int]]:
        """(count, token, child) for up to `limit` tokens that followed a node."""


_Offer = tuple[float, int, float, int, int, Occurrences, int, int, tuple[float, ...]]
"""(-survival, tie-break, confidence, parent, token, and the place after the token)."""

_order = count()
_by_chance = itemgetter(0)


Place = tuple[Occurrences, int, int, tuple[float, ...]]
"""A locus (tree, node, length) that matches the end of a sequence; the weights of what never followed, by length of the match."""


@lru_cache
def unseen_weights(after_one: float) -> tuple[float, ...]:
    """Weights of the unseen by length of the match, from that after a match of one token: they fall as
    length^-1.2."""
    return (after_one, *(after_one * length**-1.2 for length in range(1, _MAX_MATCH)))


def grow(
    draft: Tree, places: Iterable[Place], num_nodes: int, max_depth: int, foresight: Foresight | None = None
) -> None:
    """Adds up to `num_nodes` nodes under the root of `draft`, at every moment the one likeliest to be reached
    and accepted.

    The chance of a token is Witten and Bell's (1991): count / (total + kinds * weight), where `kinds`
    different tokens followed `total` times; with `foresight`, what the noise to come makes of that. What several
    places offer becomes one node.
    """
    tokens, parents, depths = draft.tokens, draft.parent, draft.depth
    confidences, sources = draft.confidence, draft.sources
    nodes: dict[int, int] = {}
    reach = [1.0]
    heap: list[_Offer] = []

    def put(parent: int, token: int, confidence: float, survival: float) -> int:
        key = parent << 32 | token
        node = nodes.get(key)
        if node is None:
            node = nodes[key] = len(tokens)
            tokens.append(token)
            parents.append(parent)
            depths.append(depths[parent] + 1)
            confidences.append(confidence)
            sources.append(1)
            reach.append(survival)
        return node

    for place in places:
        _offer(heap, place, 0, 1.0, 0, foresight)
    while heap and len(tokens) <= num_nodes:
        lost, _, confidence, parent, token, tree, node, length, weights = heappop(heap)
        at = put(parent, token, confidence, -lost)
        # most of a draft is a run without a branch: followed here, past the heap, while it is the best there
        # is
        rival = heap[0][0] if heap else 0.0
        total = tree.count(node)
        for token in tree.run(node, length, max_depth - depths[at]):
            confidence = total / (total + weights[length])
            if foresight is not None:
                confidence = foresight.chance(depths[at], token, confidence)
            survival = reach[at] * confidence
            length += 1
            if survival < MIN_SURVIVAL:
                break
            if -survival > rival or len(tokens) > num_nodes:
                heappush(heap, (-survival, next(_order), confidence, at, token, tree, node, length, weights))
                break
            at = put(at, token, confidence, survival)
        else:
            if depths[at] < max_depth:
                _branch(heap, (tree, node, length, weights), at, reach[at], depths[at], foresight)


def _offer(
    heap: list[_Offer], place: Place, parent: int, survival: float, depth: int, foresight: Foresight | None
) -> None:
    """Puts what followed `place` on the heap, as children of `parent`, which is at `depth`."""
    tree, node, length, weights = place
    run = tree.run(node, length, 1)
    if run:
        total = tree.count(node)
        confidence = total / (total + weights[length])
        if foresight is not None:
            confidence = foresight.chance(depth, run[0], confidence)
        heappush(heap, (-survival * confidence, next(_order), confidence, parent, run[0], tree, node, length + 1, weights))
    else:
        _branch(heap, place, parent, survival, depth, foresight)


def _branch(
    heap: list[_Offer], place: Place, parent: int, survival: float, depth: int, foresight: Foresight | None
) -> None:
    """The same where several tokens followed."""
    tree, node, length, weights = place
    kinds = tree.children(node, MAX_KINDS)
    total = tree.count(node) + weights[length] * len(kinds)
    offers = [(times / total, token, below) for times, token, below in kinds]
    if foresight is not None:
        offers = [(foresight.chance(depth, token, confidence), token, below) for confidence, token, below in offers]
    if len(offers) > 1:
        offers.sort(key=_by_chance, reverse=True)
    length += 1
    for confidence, token, below in offers[:MAX_OFFERS]:
        lost = -survival * confidence
        if lost > -MIN_SURVIVAL:
            break
        heappush(heap, (lost, next(_order), confidence, parent, token, tree, below, length, weights))
