"""Growing a draft from recycled tokens, best first."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from speculator.drafts import Tree
from speculator.law import Foresight
from speculator.recycled import Recycled
from speculator.suffix_growth import MIN_SURVIVAL

LEAST_PROB = 0.01
"""A probability below which nobody asks what the noise makes of a token: of those 1 % were chosen."""
FIRST, OTHERS, SAMPLED = (0.45, 0.45), (0.01, 0.6), (0.015, 0.8)
"""(base, slope) of a chance: of the likeliest token and of the others, and of all where tokens are sampled; see `Chances`."""

_Offers = list[tuple[float, int]]
"""(chance, token) of what may follow, likeliest first."""


class Chances:
    """What the target will choose after a token, by the first of `matrices` that knows it.

    A probability is that of another text. What came of it was counted on the bundled target's answers to questions about sql and
    mathematics and to dialogues: the likeliest token was chosen again at 0.47 where it had had 0.07 and at 0.88 where 0.9, and at
    temperature 0.8, all tokens alike, at 0.07 to 0.77.
    """

    def __init__(self, matrices: Sequence[Recycled], foresight: Foresight | None) -> None:
        self._matrices = matrices
        self._foresight = foresight

    def after(self, token: int, ahead: int) -> _Offers:
        """Of what follows `token`, `ahead` tokens behind the root."""
        known = next((found for matrix in self._matrices if (found := matrix.after(token))), [])
        if self._foresight is None:
            lines = (FIRST, *[OTHERS] * (len(known) - 1))
            return [(base + slope * prob, each) for (base, slope), (prob, each) in zip(lines, known, strict=False)]
        chance, (base, slope) = self._foresight.chance, SAMPLED
        offers = [(chance(ahead, each, base + slope * prob), each) for prob, each in known if prob > LEAST_PROB]
        offers.sort(reverse=True)
        return offers


def grow(tree: Tree, chances: Chances, num_nodes: int, max_depth: int) -> None:
    """Adds up to `num_nodes` nodes under the root, at every moment the one likeliest to be reached and accepted."""
    frontier: list[tuple[float, int, int, int, _Offers]] = []
    """(-survival, tie-break, parent, rank among the offers, offers): a popped entry becomes a node, and brings its next
    sibling and its first child."""
    reach = [1.0]
    order = 0

    def offer(parent: int, rank: int, offers: _Offers) -> None:
        nonlocal order
        if rank < len(offers) and (survival := reach[parent] * offers[rank][0]) >= MIN_SURVIVAL:
            order += 1
            heappush(frontier, (-survival, order, parent, rank, offers))

    offer(0, 0, chances.after(tree.tokens[0], 0))
    while frontier and len(tree) <= num_nodes:
        lost, _, parent, rank, offers = heappop(frontier)
        confidence, token = offers[rank]
        node = tree.add(parent, token, confidence, 1)
        reach.append(-lost)
        offer(parent, rank + 1, offers)
        if tree.depth[node] < max_depth:
            offer(node, 0, chances.after(token, tree.depth[node]))
