"""ParallelEagleSpeculator: a parallel EAGLE layer drafts all depths in the pass that reads the text.

(P-EAGLE, arXiv 2602.01469.)
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from torch import Tensor

from speculator.batch import Batch
from speculator.belief import beliefs, draw
from speculator.draft_lm import SPARE
from speculator.drafts import Law, Tree
from speculator.eagle import EagleSpeculator
from speculator.growth import Growth
from speculator.guesses import Choice, guesses
from speculator.lattice import grow_lattice


@dataclass(frozen=True, slots=True)
class _End:
    """Of a text that is read to its newest token, with masks behind it."""

    row: int
    """Of the batch."""
    root: int
    """The newest token."""
    choices: tuple[Choice, ...]
    """How the target will choose the token at each depth."""
    first_state: int
    """The newest token's, among those of all texts; those of the masks follow."""

    @property
    def states(self) -> range:
        """One for each depth."""
        return range(self.first_state, self.first_state + len(self.choices))


class ParallelEagleSpeculator(EagleSpeculator):
    """What it says of a depth does not know what it drafts before: trees are lattices, and chains are drawn depth by depth."""

    def drafted(self, batch: Batch, asked: SequenceOf[int], budget: tuple[int, int], depth: int) -> dict[int, Tree]:
        largest, certain = (min(each, self._max_tree) for each in budget)
        texts, features, through = self.unread(batch, asked)
        if not texts:
            return {}
        lefts = [batch.decoding[through[at]].num_left - 1 if at in through else 1 for at in range(len(texts))]
        depths = [min(depth, left) for left in lefts]
        states = self._runner.read_ahead(texts, features, [each - 1 for each in depths])
        starts = list(accumulate(depths, initial=0))
        ends = [_end(batch, row, depths[at], starts[at]) for at, row in through.items()]
        drawn = [end for end in ends if self._law.draws(batch.decoding[end.row].sampling)]
        guessed = [end for end in ends if end not in drawn]
        return self._lattices(guessed, states, largest) | self._chains(drawn, states, certain)

    def _lattices(self, ends: SequenceOf[_End], states: Tensor, most: int) -> dict[int, Tree]:
        """The likeliest of what may follow, by row. states: [., H] of all texts. most: nodes of each."""
        if not ends:
            return {}
        choices = [choice for end in ends for choice in end.choices]
        tokens, chances = guesses(self._scores(ends, states), choices, self._siblings, self._runner.vocabulary.ids)
        trees, start = {}, 0
        for end in ends:
            stop = start + len(end.choices)
            names, shares = tokens[start:stop], chances[start:stop]
            trees[end.row] = grow_lattice(end.root, names, shares, max_nodes=most, max_depth=len(names))
            start = stop
        return trees

    def _chains(self, ends: SequenceOf[_End], states: Tensor, most: int) -> dict[int, Tree]:
        """As `_lattices`, but drawn."""
        if not ends:
            return {}
        scores = self._scores(ends, states).split_with_sizes([len(end.choices) for end in ends])
        return {end.row: self._chain(end, own, most) for end, own in zip(ends, scores, strict=True)}

    def _chain(self, end: _End, scores: Tensor, most: int) -> Tree:
        """Drawn from a belief for each depth, with spare children where the law has them. scores: [depth, V]."""
        siblings = SPARE if self._law is Law.WITHOUT_REPLACEMENT else 1
        growth = Growth(end.root, width=1, most=most)
        for belief, choice in zip(beliefs(scores, end.choices, self._runner.vocabulary.ids), end.choices, strict=True):
            if growth.reading:
                growth.sprout_drawn([belief], partial(draw, choice=choice), siblings)
        return growth.tree()

    def _scores(self, ends: SequenceOf[_End], states: Tensor) -> Tensor:
        """[depths of all ends, V]"""
        return self._runner.scores(states[[place for end in ends for place in end.states]])


def _end(batch: Batch, row: int, depth: int, first_state: int) -> _End:
    sequence = batch.decoding[row]
    choices = tuple((sequence.sampling, sequence.num_output + level) for level in range(depth))
    return _End(row, sequence.tokens[-1], choices, first_state)
