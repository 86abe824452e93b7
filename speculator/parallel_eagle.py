"""ParallelEagleSpeculator: a parallel EAGLE layer drafts all depths in the pass that reads the text.

(P-EAGLE, arXiv 2602.01469.)
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from functools import partial
from itertools import accumulate

from speculator.batch import Batch
from speculator.belief import Belief, beliefs, draw
from speculator.draft_lm import SPARE
from speculator.drafts import Law, Tree
from speculator.eagle import EagleSpeculator
from speculator.growth import Growth
from speculator.guesses import Choice, guesses
from speculator.lattice import grow_lattice


class ParallelEagleSpeculator(EagleSpeculator):
    """What it says of a depth does not know what it drafts before: trees are lattices, and chains are drawn depth by depth."""

    def drafted(self, batch: Batch, asked: SequenceOf[int], budget: tuple[int, int], depth: int) -> dict[int, Tree]:
        largest, certain = (min(each, self._max_tree) for each in budget)
        texts, features, through = self.unread(batch, asked)
        if not texts:
            return {}
        depths = {at: min(depth, batch.decoding[row].num_left - 1) for at, row in through.items()}
        masks = [depths.get(at, 1) - 1 for at in range(len(texts))]
        states = self._runner.read_ahead(texts, features, masks)
        starts = list(accumulate((1 + count for count in masks), initial=0))
        scores = self._runner.scores(states[[starts[at] + level for at, deepest in depths.items() for level in range(deepest)]])
        ids, stops = self._runner.vocabulary.ids, accumulate(depths.values())
        spans = {row: slice(stop - depths[at], stop) for (at, row), stop in zip(through.items(), stops, strict=True)}
        choices = [choice for at, row in through.items() for choice in _choices(batch, row, depths[at])]
        believed = {
            row: beliefs(scores[span], choices[span], ids)
            for row, span in spans.items()
            if self._law.draws(batch.decoding[row].sampling)
        }
        trees = {row: self._chain(batch, row, each, certain) for row, each in believed.items()}
        if len(trees) < len(spans):
            tokens, chances = guesses(scores, choices, self._siblings, ids)
            for row, span in spans.items():
                if row not in trees:
                    root, names, shares = batch.decoding[row].tokens[-1], tokens[span], chances[span]
                    trees[row] = grow_lattice(root, names, shares, max_nodes=largest, max_depth=len(names))
        return trees

    def _chain(self, batch: Batch, row: int, believed: SequenceOf[Belief], most: int) -> Tree:
        """Drawn from a belief for each depth, with spare children where the law has them."""
        siblings = SPARE if self._law is Law.WITHOUT_REPLACEMENT else 1
        growth = Growth(batch.decoding[row].tokens[-1], width=1, most=most)
        for belief, choice in zip(believed, _choices(batch, row, len(believed)), strict=True):
            if growth.reading:
                growth.sprout_drawn([belief], partial(draw, choice=choice), siblings)
        return growth.tree()


def _choices(batch: Batch, row: int, depth: int) -> list[Choice]:
    """How the target will choose the token at each depth behind a sequence's newest."""
    sequence = batch.decoding[row]
    return [(sequence.sampling, sequence.num_output + level) for level in range(depth)]
