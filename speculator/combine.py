"""What several sources drafted for a batch, made into the trees that are verified: calibrated, merged and pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from kernels.native import library
from kernels.trees import Combiner, Limits
from speculator.calibration import DEPTHS, LEVELS, MAX_CHANCE, Calibration
from speculator.drafts import Tree
from speculator.merge import merge, prune

Complete = Callable[[Tree], Tree]
Proposed = Mapping[int, Tree]
"""Of one sequence, by the index of the source."""


def combine(
    roots: Sequence[int],
    proposed: Sequence[Proposed],
    sampled: Sequence[bool],
    calibration: Calibration,
    limits: Limits,
    completing: Mapping[int, Complete] = MappingProxyType({}),
) -> list[Tree]:
    """A tree for each sequence: of the calibrated union of what was proposed for it the nodes that pay, as `prune` has it. Of a
    sequence for which tokens were drawn, what was drawn for it alone.

    roots: the newest token of each. sampled: whether their choices are. completing: by row, what adds to a union.
    """
    if library() is None or completing or any(tree.beliefs for trees in proposed for tree in trees.values()):
        return combine_plainly(roots, proposed, sampled, calibration, limits, completing)
    combiner = Combiner(roots, calibration.factors, DEPTHS, LEVELS, MAX_CHANCE)
    for row, trees in enumerate(proposed):
        for source, tree in trees.items():
            if len(tree) > 1:
                cell = calibration.first_cell(source, sampled[row])
                combiner.add(row, cell, 1 << source, tree.tokens, tree.parent, tree.confidence)
    return _unpacked(*combiner.trees(limits))


def combine_plainly(
    roots: Sequence[int],
    proposed: Sequence[Proposed],
    sampled: Sequence[bool],
    calibration: Calibration,
    limits: Limits,
    completing: Mapping[int, Complete] = MappingProxyType({}),
) -> list[Tree]:
    """`combine` in Python, which knows of trees that were drawn, and of completing, too."""
    trees = [
        _merged(root, calibration, each, chosen) for root, each, chosen in zip(roots, proposed, sampled, strict=True)
    ]
    for row, complete in completing.items():
        trees[row] = complete(trees[row])
    return prune(
        trees,
        limits.num_nodes,
        max_tree=limits.max_tree,
        step_seconds=limits.step_seconds,
        draft_seconds=limits.draft_seconds,
    )


def _merged(root: int, calibration: Calibration, proposed: Proposed, sampled: bool) -> Tree:
    """The calibrated union; what was drawn stays alone."""
    trees = []
    for source, tree in proposed.items():
        if len(tree) > 1:
            calibrated = calibration.applied(source, tree, sampled)
            if tree.beliefs:
                return calibrated
            trees.append(calibrated)
    return merge(trees) if trees else Tree.rooted(root)


def _unpacked(sizes: list[int], numbers: list[int], confidences: list[float]) -> list[Tree]:
    trees: list[Tree] = []
    start = 0
    for size in sizes:
        columns = (numbers[at : at + size] for at in range(4 * start, 4 * (start + size), size))
        tokens, parents, depths, sources = columns
        trees.append(Tree(tokens, parents, depths, confidences[start : start + size], sources))
        start += size
    return trees
