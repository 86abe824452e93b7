"""Drafting under a constraint: no node that the grammar forbids, and what it forces for nothing.

Under the point-mass law any tokens may be drafted and any left out, so neither changes the text.
"""

from __future__ import annotations

from speculator.batch import Sequence
from speculator.constraint.guide import Guide
from speculator.drafts import Tree

SOURCE = "grammar"
"""Name of the forced tokens among the sources of drafts."""
_SURE = 0.99
"""Nothing else is allowed. Yet verification decides, as for any other draft."""
_MOST_ASKED = 8
"""Drafted nodes behind which the grammar is asked what it forces: some 10 us each, and as much for the copy of a short tree."""


def within(tree: Tree, sequence: Sequence) -> Tree:
    """The part of a sequence's tree that its grammar lets through. Of a tree that was drawn everything: to leave out what
    was drawn would change what it was drawn from."""
    if sequence.guide is None or len(tree) == 1 or tree.beliefs:
        return tree
    legal = _legal(tree, sequence.guide)
    if len(legal) == len(tree):
        return tree
    place = {0: 0}
    kept = Tree.rooted(tree.tokens[0])
    for node in sorted(legal - {0}):
        place[node] = kept.add(place[tree.parent[node]], tree.tokens[node], tree.confidence[node], tree.sources[node])
    return kept


def forced(sequence: Sequence, max_depth: int) -> Tree:
    """The tokens that must follow in a sequence, as a chain."""
    tree = Tree.rooted(sequence.tokens[-1])
    if sequence.guide is not None and sequence.speculative and sequence.num_left > 1:
        for token in sequence.guide.forced()[: min(max_depth, sequence.num_left - 1)]:
            tree.add(len(tree) - 1, token, _SURE, 1)
    return tree


def completed(tree: Tree, sequence: Sequence, max_depth: int, source: int) -> Tree:
    """A sequence's tree, all of it within the grammar, with the tokens that must follow behind its likeliest nodes. source: the
    bit of `SOURCE`; nodes that have it are forced themselves, and followed by what they force. Of a tree that was drawn nothing
    is changed."""
    guide, deepest = sequence.guide, min(max_depth, sequence.num_left - 1)
    if guide is None or len(tree) == 1 or tree.beliefs:
        return tree
    survival = tree.survival()
    drafted = sorted((node for node in range(1, len(tree)) if not tree.sources[node] & source), key=lambda node: -survival[node])
    grown = Tree(tree.tokens[:], tree.parent[:], tree.depth[:], tree.confidence[:], tree.sources[:])
    guides = {0: guide}
    for node in drafted[:_MOST_ASKED]:  # parents before children
        if not grown.sources[node] & source:
            tokens = _guide_behind(tree, node, guides).forced()
            _force(grown, node, tokens[: deepest - tree.depth[node]], source)
    return grown


def _guide_behind(tree: Tree, node: int, guides: dict[int, Guide]) -> Guide:
    """guides: by node, those that were made already, the root's among them."""
    if node not in guides:
        guides[node] = _guide_behind(tree, tree.parent[node], guides).behind(tree.tokens[node])
    return guides[node]


def _force(tree: Tree, node: int, tokens: list[int], source: int) -> None:
    """Adds a chain behind a node; what is there already is made as sure."""
    for token in tokens:
        child = tree.child(node, token)
        if child is None:
            child = tree.add(node, token, _SURE, source)
        else:
            tree.confidence[child] = max(tree.confidence[child], _SURE)
            tree.sources[child] |= source
        node = child


def _legal(tree: Tree, guide: Guide) -> set[int]:
    """Nodes whose path the grammar lets through, the root among them: one question for each leaf."""
    legal = {0}
    inner = set(tree.parent)
    for leaf in range(1, len(tree)):
        if leaf not in inner:
            path = _path(tree, leaf)
            legal.update(path[: guide.reach([tree.tokens[node] for node in path])])
    return legal


def _path(tree: Tree, node: int) -> list[int]:
    """From below the root down to `node`."""
    path = []
    while node > 0:
        path.append(node)
        node = tree.parent[node]
    return path[::-1]
