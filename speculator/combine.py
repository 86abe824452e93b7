"""What several sources drafted for a batch, made into the trees that are verified: calibrated, merged and pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kernels.native import library
from kernels.trees import Combiner, Limits
from speculator.calibration import DEPTHS, LEVELS, MAX_CHANCE, Calibration
from speculator.drafts import Tree, unpacked
from speculator.merge import merge, prune


@dataclass(frozen=True, slots=True)
class Proposed:
    """For one sequence."""

    root: int
    """Its newest token."""
    trees: Mapping[int, Tree]
    """By the index of the source."""
    sampled: bool
    """Whether its choices are."""
    complete: Callable[[Tree], Tree] | None = None
    """What adds to the union, if anything does."""

    @property
    def drawn(self) -> bool:
        """Whether tokens were drawn for it."""
        return any(tree.beliefs for tree in self.trees.values())


def combine(proposed: Sequence[Proposed], calibration: Calibration, limits: Limits) -> list[Tree]:
    """A tree for each sequence: of the calibrated union of what was proposed for it the nodes that pay, as `prune` has it. Of a
    sequence for which tokens were drawn, what was drawn for it alone."""
    if library() is None or any(each.complete is not None or each.drawn for each in proposed):
        return combine_plainly(proposed, calibration, limits)
    combiner = Combiner([each.root for each in proposed], calibration.factors, DEPTHS, LEVELS, MAX_CHANCE)
    for row, each in enumerate(proposed):
        for source, tree in each.trees.items():
            if len(tree) > 1:
                cell = calibration.first_cell(source, each.sampled)
                combiner.add(row, cell, 1 << source, tree.tokens, tree.parent, tree.confidence)
    return list(unpacked(*combiner.trees(limits), with_sources=True))


def combine_plainly(proposed: Sequence[Proposed], calibration: Calibration, limits: Limits) -> list[Tree]:
    """`combine` in Python, which knows of trees that were drawn, and of completing, too."""
    return prune(
        [_united(each, calibration) for each in proposed],
        limits.num_nodes,
        max_tree=limits.max_tree,
        step_seconds=limits.step_seconds,
        draft_seconds=limits.draft_seconds,
    )


def _united(proposed: Proposed, calibration: Calibration) -> Tree:
    union = _merged(proposed, calibration)
    return union if proposed.complete is None else proposed.complete(union)


def _merged(proposed: Proposed, calibration: Calibration) -> Tree:
    """The calibrated union; what was drawn stays alone."""
    trees = []
    for source, tree in proposed.trees.items():
        if len(tree) > 1:
            calibrated = calibration.applied(source, tree, proposed.sampled)
            if tree.beliefs:
                return calibrated
            trees.append(calibrated)
    return merge(trees) if trees else Tree.rooted(proposed.root)
