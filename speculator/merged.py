"""MergedSpeculator: several sources as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from kernels.trees import Limits
from pipelines.errors import ForeignCheckpoint
from speculator import batch as steps
from speculator.audition import SEQUENCES, Audition
from speculator.batch import Batch
from speculator.calibration import Calibration
from speculator.combine import Proposed, combine
from speculator.constraint.drafting import SOURCE as GRAMMAR
from speculator.constraint.drafting import completed, forced, within
from speculator.cost import StepCosts
from speculator.drafts import Drafts, Tree
from speculator.kinds import kind_of
from speculator.newer import Unfit
from speculator.protocol import Budget, Checkpoint, Speculator
from speculator.rests import Rests
from speculator.shadow import Shadow
from speculator.verify import Verdicts


class MergedSpeculator:
    """Asks every source that the budget allows, calibrates what they say, merges their trees and prunes them
    across the batch.

    rival: heads, or a layer, that draft in place of the others of their kind for the sequences of a trial (see `try_out`).
    costs: is told how long each source took. shadow: scores the sources' own trees on the text to come; in
    the steps that it samples, sources that the budget leaves out propose too, for some sequences and for the score
    alone. max_tree: most nodes of one sequence.

    Measured on one core, for a suffix tree's and heads' trees of 16 nodes each and a budget of 16: 40 us for
    calibrating, merging and pruning and 10 us for calibrating again in `observe` at batch 1 (the suffix tree
    itself, in C: 6 us and 5 us), 430 us and 60 us at batch 16.
    """

    name = "merged"

    def __init__(
        self,
        sources: Sequence[Speculator],
        *,
        costs: StepCosts | None = None,
        shadow: Shadow | None = None,
        rival: Speculator | None = None,
        max_tree: int = 64,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.source_names = tuple(source.name for source in sources)
        assert len(set(self.source_names)) == len(sources), "two sources of one name"
        self.costs = costs or StepCosts()
        self.shadow = shadow or Shadow(every=0)
        self._sources = tuple(sources) if rival is None else (*sources, rival)
        self._names = tuple(source.name for source in self._sources)
        self._rival = rival
        takers = [getattr(source, "take_prepared", None) for source in self._sources]
        self._takers: list[Callable[[], Unfit | None]] = [take for take in takers if take is not None]
        self._stood_in = frozenset(name for name in self.source_names if rival and kind_of(name) == kind_of(rival.name))
        """Sources in whose place the rival drafts."""
        self._share: Callable[[steps.Sequence], bool] | None = None
        """Which sequences the rival drafts for; None: there is no trial."""
        self._with_rival: set[int] = set()
        self.max_tree = max_tree
        self._clock = clock
        self._calibration = Calibration(len(self._sources) + 1)  # what grammars force is the last
        self._audition = Audition(sources, self._calibration, self.costs, self.shadow, max_tree=max_tree, clock=clock)
        self._rests = Rests()
        self._asked: list[int] = []
        """Rows of the batch that are drafted for in this step."""
        self._proposed: list[tuple[int, dict[int, Tree]]] = []
        """By source, what it proposed for them, by row."""

    @property
    def versions(self) -> Mapping[str, str]:
        """The version in use of each source; of the rival only while it is tried out."""
        used = self._sources if self._share is not None or self._rival is None else self._sources[:-1]
        return {source.name: source.version for source in used}

    @property
    def version(self) -> str:
        return "+".join(source.version for source in self._sources)

    @property
    def needs_hidden(self) -> bool:
        return any(source.needs_hidden for source in self._sources)

    @property
    def needs_layers(self) -> tuple[int, ...]:
        return tuple(sorted({layer for source in self._sources for layer in source.needs_layers}))

    def begin(self, sequence: steps.Sequence) -> None:
        for source in self._sources:
            source.begin(sequence)
        if self._share is not None and self.settled and self._share(sequence):
            self._with_rival.add(sequence.id)

    def try_out(self, checkpoint: Checkpoint, chosen: Callable[[steps.Sequence], bool]) -> None:
        """From now on, as soon as it is settled, the rival drafts with these weights for the sequences that are `chosen` as they
        enter.

        Raises ForeignCheckpoint where there is no rival or the weights do not fit it: then nobody is tried out.
        """
        self.stop_trial()
        if self._rival is None:
            raise ForeignCheckpoint(f"version {checkpoint.manifest.version}: nobody here can try it out")
        self._rival.load(checkpoint)
        self._calibration.loosen(len(self._sources) - 1)
        self._share = chosen

    def stop_trial(self) -> None:
        """One version drafts for everybody again."""
        self._share = None
        self._with_rival.clear()

    @property
    def settled(self) -> bool:
        """Whether both versions of a trial draft with the weights that they were given last: not yet while they are prepared, and
        no more where they cannot be."""
        pairs = zip(self._names, self._sources, strict=True)
        return all(getattr(each, "settled", True) for name, each in pairs if each is self._rival or name in self._stood_in)

    def take_prepared(self) -> list[Unfit]:
        """The sources go on with newer weights that are prepared by now; those that could not be, once. Between two steps."""
        return [unfit for take in self._takers if (unfit := take()) is not None]

    def has_rival(self, sequence: steps.Sequence) -> bool:
        """Whether the rival drafts for it."""
        return sequence.id in self._with_rival

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        self._proposed = []
        decoding = batch.decoding
        drafts = Drafts.empty([sequence.tokens[-1] for sequence in decoding])
        if not decoding:
            return drafts
        awake = self._rests.awake(decoding)
        self._asked = awake if budget.nodes else []
        arm = frozenset(name for name in self.source_names if budget.allows(name))
        due = self.shadow.due(bool(self._asked)) and self._audition.affordable()
        scored = self._audition.hear(batch, budget, arm) if due else {}
        if not self._asked:
            return drafts
        started = self._clock()
        again = len(self._asked) == len(decoding) <= SEQUENCES  # what is scored can be used too
        for index, source in enumerate(self._sources):
            rows = self._rows(source, arm, decoding)
            if rows:
                drafted = (scored.get(index) if again else None) or self._ask_for(source, rows, decoding, budget)
                own = drafted.trees if len(drafted) == len(rows) else [drafted.trees[row] for row in rows]
                self._proposed.append((index, {row: within(tree, decoding[row]) for row, tree in zip(rows, own, strict=True)}))
        names = self._names + self._force(decoding, budget)
        asked = tuple(decoding[row] for row in self._asked)
        expected = self.costs.drafting(arm, len(asked))
        kept = self._combined(decoding, budget, expected)
        if not scored:
            self.costs.drafted(arm, len(asked), self._clock() - started)
        self._rests.judge(asked, [kept[row] for row in self._asked], len(decoding), budget.step_seconds, expected / len(asked))
        return Drafts.pack(kept, names, self.versions)

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        for source in self._sources:
            source.verifying(batch, drafts)

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Calibrates every source on its own trees as it proposed them: what was emitted judges also what was
        pruned, where it is exact."""
        for index, proposed in self._proposed:
            for row, tree in proposed.items():
                sequence = batch.decoding[row]
                if sequence.exact:
                    self._calibration.observe(index, tree, verdicts.emitted[row], not sequence.sampling.greedy)
        self._audition.observe(batch, verdicts, frozenset(index for index, _ in self._proposed))
        self._proposed = []
        for source in self._sources:
            source.observe(batch, drafts, verdicts)
        if self.shadow.waiting:
            for sequence in batch.decoding:
                self.shadow.settle(sequence, ended=False)

    def end(self, sequence: steps.Sequence) -> None:
        for source in self._sources:
            source.end(sequence)
        self._with_rival.discard(sequence.id)
        self._rests.end(sequence)
        self.shadow.settle(sequence, ended=True)

    def load(self, checkpoint: Checkpoint) -> None:
        """Hands the weights to the sources they are for. Raises ForeignCheckpoint when there is none."""
        kind = checkpoint.manifest.kind
        kinds = [getattr(source, "kind", name) for name, source in zip(self.source_names, self._sources, strict=False)]
        if kind not in kinds:
            raise ForeignCheckpoint(f"kind is {kind!r}, expected one of {', '.join(dict.fromkeys(kinds))}")
        for index, each in enumerate(kinds):
            if each == kind:
                self._sources[index].load(checkpoint)
                self._calibration.loosen(index)
                self.shadow.forget(self.source_names[index])

    def counters(self) -> dict[str, float]:
        """What the sources count themselves, for metrics."""
        found: dict[str, float] = {}
        for source in self._sources:
            found |= getattr(source, "counters", {})
        return found

    def gauges(self) -> dict[str, float]:
        """What the sources say of themselves, for metrics."""
        found: dict[str, float] = {}
        for source in self._sources:
            found |= getattr(source, "gauges", {})
        return found

    def forget(self, tenant: str, before: float) -> None:
        """Drops what the sources remember of a tenant, if any of it is older than `before` (Unix seconds)."""
        for source in self._sources:
            forget = getattr(source, "forget", None)
            if forget is not None:
                forget(tenant, before)

    def close(self) -> None:
        """The engine is done: what a source keeps running is ended."""
        for source in self._sources:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def cost(self, rows: int) -> float:
        return sum(source.cost(rows) for source in self._sources)

    def _ask(self, source: Speculator, batch: Batch, budget: Budget) -> Drafts:
        drafts = source.propose(batch, budget)
        assert len(drafts) == len(batch.decoding), f"{source.name} left sequences out"
        return drafts

    def _rows(self, source: Speculator, arm: frozenset[str], decoding: tuple[steps.Sequence, ...]) -> list[int]:
        """Of the rows that are drafted for, those of this source: the rival stands in for whoever of its kind is in the arm."""
        is_rival = source is self._rival
        if source.name not in arm and not (is_rival and arm & self._stood_in):
            return []
        if not self._with_rival or not (is_rival or source.name in self._stood_in):
            return [] if is_rival else self._asked
        return [row for row in self._asked if (decoding[row].id in self._with_rival) == is_rival]

    def _ask_for(self, source: Speculator, rows: list[int], decoding: tuple[steps.Sequence, ...], budget: Budget) -> Drafts:
        if source is self._rival and budget.sources is not None:
            budget = replace(budget, sources=budget.sources | {source.name})
        return self._ask(source, Batch(tuple(decoding[row] for row in rows)), budget)

    def _force(self, decoding: tuple[steps.Sequence, ...], budget: Budget) -> tuple[str, ...]:
        """Adds what grammars force on the sequences drafted for, as one more source; its name, if there are grammars."""
        trees = {row: forced(decoding[row], budget.max_depth) for row in self._asked if decoding[row].guide is not None}
        self._proposed.append((len(self._sources), trees))
        return (GRAMMAR,) if trees else ()

    def _combined(self, decoding: tuple[steps.Sequence, ...], budget: Budget, expected: float) -> list[Tree]:
        """What was proposed, one tree for each sequence. expected: seconds of drafting."""
        proposed = [self._proposed_for(row, sequence, budget.max_depth) for row, sequence in enumerate(decoding)]
        return combine(proposed, self._calibration, Limits(budget.nodes, self.max_tree, budget.step_seconds, expected))

    def _proposed_for(self, row: int, sequence: steps.Sequence, max_depth: int) -> Proposed:
        """In this step; with a grammar, completed by what that forces where the sequence is drafted for."""
        trees = {index: by_row[row] for index, by_row in self._proposed if row in by_row}
        complete = None
        if sequence.guide is not None and row in self._asked:
            complete = partial(completed, sequence=sequence, max_depth=max_depth, source=1 << len(self._sources))
        return Proposed(sequence.tokens[-1], trees, not sequence.sampling.greedy, complete)
