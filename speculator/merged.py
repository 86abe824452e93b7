"""MergedSpeculator: several sources as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pipelines.errors import ForeignCheckpoint
from speculator import batch as steps
from speculator.batch import Batch
from speculator.calibration import Calibration
from speculator.cost import StepCosts
from speculator.drafts import Drafts, Tree
from speculator.merge import merge, prune
from speculator.protocol import Budget, Checkpoint, Speculator
from speculator.rests import Rests
from speculator.shadow import Shadow
from speculator.verify import Verdicts

SHADOW_NODES = 12
"""Drafted nodes, at least, of a tree that is scored on the text to come."""
SHADOW_SEQUENCES = 2
"""Sequences of a batch that are drafted for by everyone in a shadowed step, for the score alone."""


class MergedSpeculator:
    """Asks every source that the budget allows, calibrates what they say, merges their trees and prunes them
    across the batch.

    costs: is told how long each source took. shadow: scores the sources' own trees on the text to come; in
    the steps that it samples, sources that the budget leaves out propose too, for some sequences and for the score
    alone. max_tree: most nodes of one sequence.

    Measured on one core, for a suffix tree's and heads' trees of 16 nodes each and a budget of 16: 40 us for
    calibrating, merging and pruning and 10 us for calibrating again in `observe` at batch 1 (the suffix tree
    itself: 35 us and 20 us), 430 us and 60 us at batch 16.
    """

    name = "merged"

    def __init__(
        self,
        sources: Sequence[Speculator],
        *,
        costs: StepCosts | None = None,
        shadow: Shadow | None = None,
        max_tree: int = 64,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.source_names = tuple(source.name for source in sources)
        assert len(set(self.source_names)) == len(sources), "two sources of one name"
        self.costs = costs or StepCosts()
        self.shadow = shadow or Shadow(every=0)
        self._sources = tuple(sources)
        self._max_tree = max_tree
        self._clock = clock
        self._calibration = Calibration(len(sources))
        self._rests = Rests()
        self._asked: list[int] = []
        """Rows of the batch that are drafted for in this step."""
        self._proposed: list[tuple[int, Drafts]] = []
        """By source, what it proposed for them."""
        self._turn = 0

    @property
    def versions(self) -> Mapping[str, str]:
        """The version in use of each source."""
        return {source.name: source.version for source in self._sources}

    @property
    def version(self) -> str:
        return "+".join(source.version for source in self._sources)

    @property
    def needs_hidden(self) -> bool:
        return any(source.needs_hidden for source in self._sources)

    def begin(self, sequence: steps.Sequence) -> None:
        for source in self._sources:
            source.begin(sequence)

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        self._proposed = []
        decoding = batch.decoding
        drafts = Drafts.empty([sequence.tokens[-1] for sequence in decoding])
        if not decoding:
            return drafts
        awake = self._rests.awake(decoding)
        self._asked = awake if budget.nodes else []
        scored = self._scored(batch, budget) if self.shadow.due(bool(self._asked)) else {}
        if not self._asked:
            return drafts
        started = self._clock()
        asked = Batch(tuple(decoding[row] for row in self._asked))
        again = len(asked.decoding) == len(decoding) <= SHADOW_SEQUENCES  # what is scored can be used too
        arm = frozenset(name for name in self.source_names if budget.allows(name))
        for index, source in enumerate(self._sources):
            if source.name in arm:
                drafted = scored.get(index) if again else None
                self._proposed.append((index, drafted or self._ask(source, asked, budget)))
        trees = list(drafts.trees)
        for at, (row, sequence) in enumerate(zip(self._asked, asked.decoding, strict=True)):
            trees[row] = self._merged(at, sequence)
        expected = self.costs.drafting(arm, len(asked.decoding))
        kept = prune(trees, budget.nodes, max_tree=self._max_tree, step_seconds=budget.step_seconds, draft_seconds=expected)
        if not scored:
            self.costs.drafted(arm, len(asked.decoding), self._clock() - started)
        own, each = [kept[row] for row in self._asked], expected / len(asked.decoding)
        self._rests.judge(asked.decoding, own, len(decoding), budget.step_seconds, each)
        return Drafts.pack(kept, self.source_names, self.versions)

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        for source in self._sources:
            source.verifying(batch, drafts)

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Calibrates every source on its own trees as it proposed them: what was emitted judges also what was
        pruned."""
        for index, proposed in self._proposed:
            for row, tree in zip(self._asked, proposed.trees, strict=True):
                self._calibration.observe(index, tree, verdicts.emitted[row], not batch.decoding[row].sampling.greedy)
        self._proposed = []
        for source in self._sources:
            source.observe(batch, drafts, verdicts)
        if self.shadow.waiting:
            for sequence in batch.decoding:
                self.shadow.settle(sequence, ended=False)

    def end(self, sequence: steps.Sequence) -> None:
        for source in self._sources:
            source.end(sequence)
        self._rests.end(sequence)
        self.shadow.settle(sequence, ended=True)

    def load(self, checkpoint: Checkpoint) -> None:
        """Hands the weights to the source they are for. Raises ForeignCheckpoint when there is none."""
        kind = checkpoint.manifest.kind
        if kind not in self.source_names:
            raise ForeignCheckpoint(f"kind is {kind!r}, expected one of {', '.join(self.source_names)}")
        index = self.source_names.index(kind)
        self._sources[index].load(checkpoint)
        self._calibration.loosen(index)
        self.shadow.forget(kind)

    def cost(self, rows: int) -> float:
        return sum(source.cost(rows) for source in self._sources)

    def _few(self, batch: Batch) -> Batch:
        """The batch, or some of it where it is large: other sequences each time."""
        decoding, num = batch.decoding, SHADOW_SEQUENCES
        if len(decoding) <= num:
            return batch
        self._turn += num
        return Batch(tuple(decoding[(self._turn + each) % len(decoding)] for each in range(num)))

    def _scored(self, batch: Batch, budget: Budget) -> dict[int, Drafts]:
        """What every source proposes for some sequences, to be scored."""
        few = self._few(batch)
        # drafted at one size, whatever the budget: else the score would follow the budget, not the source
        budget = replace(budget, nodes=max(budget.nodes, SHADOW_NODES * len(few.decoding)), sources=None)
        scored = {index: self._ask(source, few, budget) for index, source in enumerate(self._sources)}
        for index, drafts in scored.items():
            self.shadow.add(self.source_names[index], few.decoding, drafts)
        return scored

    def _ask(self, source: Speculator, batch: Batch, budget: Budget) -> Drafts:
        drafts = source.propose(batch, budget)
        assert len(drafts) == len(batch.decoding), f"{source.name} left sequences out"
        return drafts

    def _merged(self, at: int, sequence: steps.Sequence) -> Tree:
        """The calibrated union of what was proposed for the sequence asked for at place `at`."""
        trees = []
        for index, drafts in self._proposed:
            tree = drafts.trees[at]
            if len(tree) > 1:
                chances = self._calibration.chances(index, tree, not sequence.sampling.greedy)
                bits = [1 << index] * len(tree)
                bits[0] = 0
                trees.append(Tree(tree.tokens, tree.parent, tree.depth, chances, bits))
        return merge(trees) if trees else Tree.rooted(sequence.tokens[-1])
