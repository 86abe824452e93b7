"""Audition: in a step now and then, every source drafts for a few sequences, and every arm is scored on what they say next.

Nobody has to run to be known, at a price that is kept to a small share of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kernels.trees import Limits
from speculator import batch as steps
from speculator.batch import Batch
from speculator.calibration import Calibration
from speculator.combine import Proposed, combine
from speculator.constraint.drafting import within
from speculator.cost import StepCosts
from speculator.drafts import Drafts, Tree
from speculator.kinds import kind_of
from speculator.outlook import Promise
from speculator.protocol import Budget, Speculator
from speculator.shadow import Shadow
from speculator.verify import Verdicts

NODES = 12
"""Drafted nodes, at least, of a tree that is scored."""
SEQUENCES = 2
"""Of a batch, that are drafted for in one step for the score alone."""
_SHARE = 0.01
"""Of the time, that one source may take for its score alone: a draft model as slow as a step is heard every hundred steps."""
_SAVED = 2.0
"""Drafts for which time may be saved up."""
_RECENT = 0.2
"""Weight of the newest audition in what one takes."""


class Audition:
    """sources: those that are heard, in the order of `calibration`. costs: is told how long each took."""

    def __init__(
        self,
        sources: Sequence[Speculator],
        calibration: Calibration,
        costs: StepCosts,
        shadow: Shadow,
        *,
        max_tree: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sources = tuple(sources)
        self._calibration = calibration
        self._costs = costs
        self._shadow = shadow
        self._max_tree = max_tree
        self._clock = clock
        self._seconds = [0.0] * len(self._sources)
        """That each has saved up; its draft may cost so much."""
        self._saved = self._took = 0.0
        """For whole auditions, and what one takes."""
        self._since = clock()
        self._turn = 0
        self._heard: list[tuple[int, steps.Sequence, Tree]] = []

    def affordable(self) -> bool:
        """Whether the time saved up is enough to hear anybody."""
        self._save_up()
        return self._saved >= self._took

    def hear(self, batch: Batch, budget: Budget, arm: frozenset[str]) -> dict[int, Drafts]:
        """What the sources propose for some sequences of the batch, by index; those of `arm`, which drafts, in any case."""
        self._save_up()
        started = self._clock()
        few = self._few(batch)
        # drafted at one size, whatever the budget: else the score would follow the budget, not the source
        wide = replace(budget, nodes=max(budget.nodes, NODES * len(few.decoding)), sources=None)
        heard: dict[int, Drafts] = {}
        for index, source in enumerate(self._sources):
            twin = self._twin(index, heard)
            if twin is not None:
                heard[index] = heard[twin]
            elif source.name in arm or self._affords(index, len(few.decoding)):
                heard[index] = self._ask(index, few, wide)
        for index, drafts in heard.items():
            self._shadow.add(self._sources[index].name, few.decoding, drafts)
            self._heard += [(index, *each) for each in zip(few.decoding, drafts.trees, strict=True)]
        if budget.arms:
            self._score(heard, few, len(batch.decoding), budget)
        took = self._clock() - started
        self._saved -= took
        self._took += _RECENT * (took - self._took) if self._took else took
        return heard

    def observe(self, batch: Batch, verdicts: Verdicts, proposed: frozenset[int]) -> None:
        """Calibrates those that were heard for their score alone, not being among the sources `proposed`."""
        if self._heard:
            said = {sequence.id: emitted for sequence, emitted in zip(batch.decoding, verdicts.emitted, strict=False)}
            for index, sequence, tree in self._heard:
                if index not in proposed and sequence.exact:
                    self._calibration.observe(index, tree, said[sequence.id], not sequence.sampling.greedy)
            self._heard = []

    def _twin(self, index: int, heard: Mapping[int, Drafts]) -> int | None:
        """One of those heard that drafts alike, if there is one: until somebody learns, the static copy has the same weights."""
        source = self._sources[index]
        for other in heard:
            each = self._sources[other]
            if kind_of(each.name) == kind_of(source.name) and each.version == source.version:
                return other
        return None

    def _few(self, batch: Batch) -> Batch:
        """The batch, or some of it where it is large: other sequences each time."""
        decoding = batch.decoding
        if len(decoding) <= SEQUENCES:
            return batch
        self._turn += SEQUENCES
        return Batch(tuple(decoding[(self._turn + each) % len(decoding)] for each in range(SEQUENCES)))

    def _save_up(self) -> None:
        now = self._clock()
        for index in range(len(self._sources)):
            self._seconds[index] += _SHARE * (now - self._since)
        self._saved = min(self._saved + self._shadow.share * (now - self._since), _SAVED * self._took)
        self._since = now

    def _affords(self, index: int, num_sequences: int) -> bool:
        """Whether the time saved up is enough for a draft, which is then taken from it."""
        price = self._costs.drafting(frozenset({self._sources[index].name}), num_sequences)
        self._seconds[index] = min(self._seconds[index], _SAVED * price)
        if self._seconds[index] < price:
            return False
        self._seconds[index] -= price
        return True

    def _ask(self, index: int, few: Batch, budget: Budget) -> Drafts:
        source, started = self._sources[index], self._clock()
        drafts = source.propose(few, budget)
        assert len(drafts) == len(few.decoding), f"{source.name} left sequences out"
        self._costs.drafted(frozenset({source.name}), len(few.decoding), self._clock() - started)
        allowed = [within(tree, sequence) for tree, sequence in zip(drafts.trees, few.decoding, strict=True)]
        return replace(drafts, trees=tuple(allowed))

    def _score(self, heard: dict[int, Drafts], few: Batch, num_sequences: int, budget: Budget) -> None:
        """Hands the shadow what each arm would have had verified, where all of its sources were heard."""
        price = self._costs.each(num_sequences, max(NODES, _most_drawn(heard)))
        by_name = {self._sources[index].name: index for index in heard}
        for arm in budget.arms:
            if not price[0] or not arm <= by_name.keys():
                continue
            drafting = self._costs.drafting(arm, num_sequences) / num_sequences
            for row, sequence in enumerate(few.decoding):
                if not sequence.speculative or sequence.num_left <= 1:
                    continue
                sampled = not sequence.sampling.greedy
                trees = {index: heard[index].trees[row] for index in sorted(by_name[name] for name in arm)}
                limits = Limits(NODES, self._max_tree, price, drafting)
                (kept,) = combine([Proposed(sequence.tokens[-1], trees, sampled)], self._calibration, limits)
                took = (price[len(kept) - 1] + drafting) / price[0]
                group = sequence.tenant, sequence.domain
                promise = Promise(arm, num_sequences, sampled, sum(kept.survival()), 0, took, group)
                self._shadow.add_arm(promise, sequence, kept)


def _most_drawn(heard: Mapping[int, Drafts]) -> int:
    """Drafted nodes of the largest tree that was drawn, which is kept whole."""
    return max((len(tree) - 1 for drafts in heard.values() for tree in drafts.trees if tree.beliefs), default=0)
