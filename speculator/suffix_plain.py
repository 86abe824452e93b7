"""PlainForest: suffix trees in plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from speculator.drafts import Tree
from speculator.law import Foresight
from speculator.suffix_growth import Place, grow
from speculator.suffix_match import SuffixMatch
from speculator.suffix_question import (
    OF_USE,
    SHORT_IN_REQUEST,
    SHORT_IN_TENANT,
    UNSEEN_IN_REQUEST,
    UNSEEN_IN_TENANT,
    AnyTree,
    Question,
)
from speculator.suffix_state import TreeState, copied, freeze, thaw
from speculator.suffix_tree import SuffixTree


class PlainForest:
    """`speculator.suffix_forest.Forest`: what the C is held to, and what there is without a compiler. 35 us a draft."""

    def tree(self, max_depth: int = 24, max_suffixes: int = 1 << 17) -> SuffixTree:
        return SuffixTree(max_depth, max_suffixes)

    def match(self, tree: AnyTree) -> SuffixMatch:
        return SuffixMatch(_plain(tree))

    def copied(self, tree: AnyTree) -> SuffixTree:
        return copied(_plain(tree))

    def freeze(self, tree: AnyTree) -> TreeState:
        return freeze(_plain(tree))

    def thaw(self, state: TreeState) -> SuffixTree:
        return thaw(state)

    def draft(self, questions: Sequence[Question]) -> list[Tree]:
        return [_draft(question) for question in questions]


def _plain(tree: AnyTree) -> SuffixTree:
    assert isinstance(tree, SuffixTree)
    return tree


def _draft(question: Question) -> Tree:
    own, past, text, num_nodes, max_depth, sampling, position = question
    assert isinstance(past, SuffixMatch)
    tree = Tree.rooted(text[-1])
    past.follow(text)
    if past.length >= OF_USE:
        past.tree.use(past.node)
    places: list[Place] = []
    if own is not None:
        places += _places(_plain(own), _plain(own).pending, text, SHORT_IN_REQUEST, UNSEEN_IN_REQUEST)
    places += _places(past.tree, (past.node, past.length), text, SHORT_IN_TENANT, UNSEEN_IN_TENANT)
    foresight = None if sampling.greedy else Foresight(sampling, position)
    grow(tree, places, num_nodes, max_depth, foresight)
    return tree


def _places(
    tree: SuffixTree, match: tuple[int, int], text: list[int], short: int, weights: tuple[float, ...]
) -> Iterator[Place]:
    node, length = match
    if length:
        yield tree, node, length, weights
    if length > short and (locus := tree.walk(text[-short:])):
        yield tree, *locus, weights
