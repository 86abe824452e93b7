"""NativeForest: suffix trees in C, and all drafts of a step in one call."""

from __future__ import annotations

from collections.abc import Sequence

from kernels.suffix_tree import Desk, Frozen, NativeMatch, NativeTree, Rules, frozen, thawed
from speculator.drafts import Tree, unpacked
from speculator.suffix_growth import MAX_KINDS, MAX_OFFERS, MIN_SURVIVAL
from speculator.suffix_question import (
    OF_USE,
    SHORT_IN_REQUEST,
    SHORT_IN_TENANT,
    UNSEEN_IN_REQUEST,
    UNSEEN_IN_TENANT,
    AnyTree,
    Question,
)
from speculator.suffix_state import TreeState

_RULES = Rules(
    least_survival=MIN_SURVIVAL,
    max_kinds=MAX_KINDS,
    max_offers=MAX_OFFERS,
    of_use=OF_USE,
    short_in_request=SHORT_IN_REQUEST,
    short_in_tenant=SHORT_IN_TENANT,
    unseen_in_request=UNSEEN_IN_REQUEST,
    unseen_in_tenant=UNSEEN_IN_TENANT,
)
_WORD = (1 << 64) - 1


class NativeForest:
    """`speculator.suffix_forest.Forest`, where there is a library."""

    def __init__(self) -> None:
        self._desk = Desk(_RULES)

    def tree(self, max_depth: int = 24, max_suffixes: int = 1 << 17) -> NativeTree:
        return NativeTree(max_depth, max_suffixes)

    def match(self, tree: AnyTree) -> NativeMatch:
        return NativeMatch(_native(tree))

    def copied(self, tree: AnyTree) -> NativeTree:
        return _native(tree).copied()

    def freeze(self, tree: AnyTree) -> TreeState:
        return _state(frozen(_native(tree)))

    def thaw(self, state: TreeState) -> NativeTree:
        return thawed(_frozen(state))

    def draft(self, questions: Sequence[Question]) -> list[Tree]:
        rows: list[int] = []
        tails: list[int] = []
        most = 0
        for own, past, text, num_nodes, max_depth, sampling, position in questions:
            assert isinstance(past, NativeMatch)
            assert num_nodes >= 0
            tree, num_tail, handle = past.tree, 0, 0
            if own is None:
                tail = text[-2 * tree.max_depth :]
                num_tail = len(tail)
                tails += tail
            else:
                assert isinstance(own, NativeTree)
                handle = own.handle
            most += num_nodes + 1
            rows += (
                handle, tree.handle, past.address, num_tail, len(text), num_nodes, max_depth,
                sampling.temperature != 0.0, sampling.seed & _WORD, sampling.choice & _WORD, position,
            )  # fmt: skip
        numbers, chances = self._desk.drafts(rows, len(questions), tails, most)
        return list(unpacked(numbers[: len(questions)], numbers[len(questions) :], chances))


def _native(tree: AnyTree) -> NativeTree:
    assert isinstance(tree, NativeTree)
    return tree


def _state(parts: Frozen) -> TreeState:
    return TreeState(
        max_depth=parts.max_depth,
        max_suffixes=parts.max_suffixes,
        texts=dict(enumerate(parts.texts, start=parts.serial)),
        edge_keys=parts.edge_keys,
        edge_nodes=parts.edge_nodes,
        columns=parts.columns,
        free=parts.free,
        open_text=parts.serial + len(parts.texts) - 1,
        leaves=parts.leaves,
        locus=parts.locus,
        oldest=(parts.serial, parts.oldest),
        used=tuple(serial for serial, used in enumerate(parts.used, start=parts.serial) if used),
    )


def _frozen(state: TreeState) -> Frozen:
    """Raises ValueError where texts are missing."""
    serial, oldest = state.oldest
    if list(state.texts) != list(range(serial, state.open_text + 1)):
        raise ValueError(f"texts of a suffix tree are {list(state.texts)[:8]}, expected all from {serial} to {state.open_text}")
    return Frozen(
        max_depth=state.max_depth,
        max_suffixes=state.max_suffixes,
        serial=serial,
        oldest=oldest,
        texts=tuple(state.texts.values()),
        used=tuple(each in state.used for each in state.texts),
        columns=state.columns,
        free=state.free,
        leaves=state.leaves,
        locus=state.locus,
    )
