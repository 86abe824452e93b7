"""Trees from per-depth candidates: what heads that do not see each other's tokens can offer.

Every node at depth d has the same candidates for its children, so the tree is a subset of a lattice, and growing it best first by
the product of probabilities gives the most expected accepted tokens for its size (the construction of Medusa, arXiv 2401.10774,
section 2.3.3, with the probabilities at hand in place of averages; Sequoia's optimum when siblings are sorted).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from speculator.drafts import Tree


def grow_lattice(
    root: int,
    tokens: Sequence[Sequence[int]],
    probs: Sequence[Sequence[float]],
    *,
    max_nodes: int,
    max_depth: int,
    source: int = 1,
) -> Tree:
    """The best tree of at most `max_nodes` drafted nodes under token `root`.

    tokens, probs: [K][C] candidates for each depth, most probable first. source: the bit of whoever drafted.
    """
    tree = Tree.rooted(root)
    depth_limit = min(max_depth, len(tokens))
    if max_nodes <= 0 or depth_limit <= 0:
        return tree
    # (minus survival, tie-break, parent, depth index, rank): a popped entry becomes a node and brings its next sibling and
    # its first child
    frontier: list[tuple[float, int, int, int, int]] = [(-probs[0][0], 0, 0, 0, 0)]
    order = 0
    reach = [1.0]
    while frontier and len(tree) <= max_nodes:
        survival, _, parent, level, rank = heappop(frontier)
        node = tree.add(parent, tokens[level][rank], probs[level][rank], source)
        reach.append(-survival)
        if rank + 1 < len(tokens[level]):
            order += 1
            heappush(frontier, (-reach[parent] * probs[level][rank + 1], order, parent, level, rank + 1))
        if level + 1 < depth_limit:
            order += 1
            heappush(frontier, (survival * probs[level + 1][0], order, node, level + 1, 0))
    return tree
