"""Merging trees of several sources into one, and pruning the trees of a batch to what pays.

Any union of paths and any pruning is legal under the point-mass law. Trees that were drawn (`Tree.beliefs`) are neither merged
nor pruned: to drop a token for what it is would change what it was drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from speculator.drafts import Tree


def merge(trees: Sequence[Tree]) -> Tree:
    """The union of the paths of trees with the same root, as a trie.

    A node of several trees has the sources of all of them and the greatest confidence.
    """
    if len(trees) == 1:
        return trees[0]
    first = trees[0]
    merged = Tree(first.tokens[:], first.parent[:], first.depth[:], first.confidence[:], first.sources[:])
    known = {first.parent[node] << 32 | first.tokens[node]: node for node in range(1, len(first))}
    confidences, sources = merged.confidence, merged.sources
    for tree in trees[1:]:
        place = [0]
        for node in range(1, len(tree)):
            parent, token = place[tree.parent[node]], tree.tokens[node]
            at = known.get(parent << 32 | token)
            if at is None:
                at = known[parent << 32 | token] = merged.add(parent, token, tree.confidence[node], tree.sources[node])
            else:
                sources[at] |= tree.sources[node]
                confidences[at] = max(confidences[at], tree.confidence[node])
            place.append(at)
    return merged


def prune(
    trees: Sequence[Tree],
    num_nodes: int,
    *,
    max_tree: int | None = None,
    step_seconds: Sequence[float] = (),
    draft_seconds: float = 0.0,
) -> list[Tree]:
    """The `num_nodes` nodes of the whole batch likeliest to be reached and accepted; fewer where the next no
    longer pays.

    max_tree: most nodes of one tree. step_seconds: expected seconds of the step with 0, 1, … nodes, beside `draft_seconds` that
    drafting takes; the number kept is the one with the most expected tokens per second, each sequence's own token included. Best
    first is optimal, since a node is never likelier than its parent (Sequoia, arXiv 2402.12374, with siblings
    sorted). Likeliest paths come first in a tree, so that what is accepted is mostly where it will stay.
    """
    ranked: list[tuple[float, int, int]] = []
    certain, num_drawn = float(len(trees)), 0
    for row, tree in enumerate(trees):
        survival = tree.survival()
        if tree.beliefs:
            certain, num_drawn = certain + sum(survival[1:]), num_drawn + len(tree) - 1
        else:
            ranked += [(-chance, row, node) for node, chance in enumerate(survival) if node]
    ranked.sort()  # ties: parents before children
    kept = _keep(ranked, len(trees), max(0, num_nodes - num_drawn), max_tree)
    if step_seconds:
        kept = kept[: _most_tokens_per_second(kept, certain, step_seconds[num_drawn:], draft_seconds)]
    chosen: list[list[int]] = [[] for _ in trees]
    for _, row, node in kept:
        chosen[row].append(node)
    return [tree if tree.beliefs else _laid_out(tree, nodes) for tree, nodes in zip(trees, chosen, strict=True)]


def _keep(
    ranked: list[tuple[float, int, int]], num_trees: int, num_nodes: int, max_tree: int | None
) -> list[tuple[float, int, int]]:
    """The first `num_nodes`, at most `max_tree` of each tree."""
    if max_tree is None:
        return ranked[:num_nodes]
    sizes = [0] * num_trees
    kept: list[tuple[float, int, int]] = []
    for entry in ranked:
        if len(kept) == num_nodes:
            break
        if sizes[entry[1]] < max_tree:
            sizes[entry[1]] += 1
            kept.append(entry)
    return kept


def _most_tokens_per_second(
    kept: list[tuple[float, int, int]], certain: float, step_seconds: Sequence[float], draft_seconds: float
) -> int:
    """How many of the nodes to keep, beside so many tokens that the step brings anyhow: all counts are compared, since cost may
    be flat and then rise by a step."""
    tokens = accumulate((-lost for lost, _, _ in kept), initial=certain)
    best, best_rate = 0, 0.0
    for size, (expected, step) in enumerate(zip(tokens, step_seconds, strict=False)):
        seconds = draft_seconds + step
        if expected > best_rate * seconds:
            best, best_rate = size, expected / seconds
    return best


def _laid_out(tree: Tree, nodes: list[int]) -> Tree:
    """The part of a tree that holds `nodes` (the likeliest first), depth first, the likeliest child first."""
    children: dict[int, list[int]] = {}
    for node in reversed(nodes):
        children.setdefault(tree.parent[node], []).append(node)
    laid_out = Tree.rooted(tree.tokens[0])
    stack = [(node, 0) for node in children.get(0, ())]
    while stack:
        node, parent = stack.pop()
        at = laid_out.add(parent, tree.tokens[node], tree.confidence[node], tree.sources[node])
        if node in children:
            stack += [(child, at) for child in children[node]]
    return laid_out
