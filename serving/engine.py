"""Engine: the main loop of serving. `step` is the sentence that describes the system."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipelines.registry import Slot
from serving.joining import Joining, Ready
from serving.lots import salted
from serving.messages import FinishReason, Moved, Refused, Request
from serving.purges import Purges
from serving.scheduler import Scheduler
from serving.stats import EngineStats
from serving.swap import Swap
from serving.target import Target
from serving.trial import Trial
from speculator.batch import Batch, Sequence
from speculator.constraint.grammars import Grammars
from speculator.constraint.guide import Guide
from speculator.drafts import Drafts
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget
from speculator.scoring import score_emitted
from speculator.verify import Verdicts, verify

_NOTHING_TO_DO_SECONDS = 0.002
"""That a step without a sequence waits for a grammar."""


class Budgeting(Protocol):
    """What decides how much to draft: `speculator.controller.Controller`, or a fixed budget."""

    enabled: bool
    """False: plain decoding."""

    def budget(self, batch: Batch) -> Budget: ...

    def observe(
        self, num_sequences: int, num_drafted: int, num_emitted: int, step_seconds: float, draft_seconds: float
    ) -> None:
        """After a step without prompt tokens; `step_seconds` is all of it but the drafting."""

    def forget(self, tenant: str) -> None:
        """A tenant was purged."""

    def gauges(self) -> dict[str, float]:
        """For metrics."""


@dataclass(slots=True)
class FixedBudget:
    """The same nodes for each sequence in every step: for tests, replays and measurements."""

    nodes: int
    sources: frozenset[str] | None = None
    enabled: bool = True

    def budget(self, batch: Batch) -> Budget:
        return Budget(self.nodes * len(batch.decoding) * self.enabled, sources=self.sources)

    def observe(
        self, num_sequences: int, num_drafted: int, num_emitted: int, step_seconds: float, draft_seconds: float
    ) -> None:
        """Learns nothing."""

    def forget(self, tenant: str) -> None:
        """Knows nobody."""

    def gauges(self) -> dict[str, float]:
        return {}


class Engine:
    """Generates for every request submitted, one step at a time. Single-threaded; owns target, pages and speculators."""

    def __init__(
        self,
        target: Target,
        scheduler: Scheduler,
        speculator: MergedSpeculator,
        controller: Budgeting | None = None,
        swap: Swap | None = None,
        clock: Callable[[], float] = time.perf_counter,
        trial: Trial | None = None,
        probe_share: float = 0.0,
        grammars: Grammars | None = None,
    ) -> None:
        """probe_share: of the requests, served without drafts, to compare with. grammars: None: answers cannot be constrained."""
        assert speculator.max_tree <= scheduler.max_tree, "a draft would not fit behind its text"
        self.target = target
        target.capture = speculator.needs_layers
        self.scheduler = scheduler
        self.speculator = speculator
        self.controller: Budgeting = controller or FixedBudget(scheduler.max_tree)
        self.swap = swap or Swap(Slot(target="", kind=""))
        self.further_swaps: tuple[Swap, ...] = ()
        """Of other kinds of speculator than that one is of."""
        self.purges = Purges()
        self.speculation = self.controller.enabled
        """False: the operator of this server wants plain decoding; every slot that it follows has a say too
        (`Swap.speculation`)."""
        self.trial = trial or Trial()
        self.stats = EngineStats()
        self._probe_share = probe_share
        self._joining = Joining(grammars)
        self._refused: list[Refused] = []
        self._clock = clock

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work or len(self._joining) > 0

    @property
    def num_waiting(self) -> int:
        """Requests that wait for their turn or for their grammar."""
        return self.scheduler.num_waiting + len(self._joining)

    @property
    def speculating(self) -> bool:
        """Whether anything may be drafted: the operator and the slots that are followed all say so."""
        return self.speculation and all(swap.speculation for swap in (self.swap, *self.further_swaps))

    def submit(self, request: Request) -> Refused | None:
        """Takes a request in, or says why it will never run; of a constrained one that may turn out later (`take_refused`)."""
        return self._joining.add(request) if request.constraint is not None else self._take_in(request)

    def take_refused(self) -> list[Refused]:
        """Requests taken in that will not run (any more), each once."""
        refused, self._refused = self._refused, []
        return refused

    def _take_in(self, request: Request, guide: Guide | None = None) -> Refused | None:
        answer = self.scheduler.submit(request)
        if isinstance(answer, Refused):
            return answer
        if guide is not None:
            answer.guide, answer.processors = guide, (*answer.processors, guide)
        answer.probe = answer.lot is not None and salted(answer.lot, "probe") < self._probe_share
        answer.speculative = answer.speculative and not answer.probe
        self.speculator.begin(answer)
        if answer.lot is not None and self.speculator.settled:
            self.trial.begin(answer, self.speculator.has_rival(answer))
        return None

    def abort(self, request_id: int) -> Moved | None:
        """Frees everything of a request at once; None if it is not here (any more)."""
        sequence = self.scheduler.abort(request_id)
        if sequence is None:
            return Moved(request_id, (), "abort", 0, -1) if self._joining.abort(request_id) else None
        self.speculator.end(sequence)
        self.trial.end(sequence)
        return Moved(request_id, (), "abort", 0, -1)

    def step(self) -> tuple[Moved, ...]:
        """One forward pass for everybody; what it emitted for each sequence."""
        self._join()
        if not self.scheduler.has_work:
            self._joining.wait(_NOTHING_TO_DO_SECONDS)
            return ()
        started = self._clock()
        self.controller.enabled = self.speculating
        batch = self.scheduler.schedule()
        self.target.copy(batch)
        drafts = self.speculator.propose(batch, self.controller.budget(batch))
        drafted = self._clock()
        drafts = drafts.with_roots([sequence.tokens[-1] for sequence in batch.choosing[len(batch.decoding) :]])
        self.target.launch(batch, drafts)
        self.speculator.verifying(batch, drafts)
        scores = self.target.wait()
        verdicts = verify(drafts, scores.logits, batch.sampling, batch.positions, processors=batch.processors)
        scored = score_emitted(batch, drafts, scores.logits, verdicts)
        self.target.keep(batch, verdicts)
        reasons = self.scheduler.commit(batch, verdicts)
        self.speculator.observe(batch, drafts, verdicts)
        moved = self.stats.record(batch, drafts, verdicts, reasons, scored)
        self._book(batch, verdicts, reasons, self._clock() - started)
        self._end(batch, reasons)
        self.take_newer()
        self._time(batch, drafts, verdicts, drafted - started, self._clock() - drafted)
        stuck = [sequence for sequence in batch.choosing if sequence.guide is not None and sequence.guide.error]
        return self._without(stuck, moved) if stuck else moved

    def _join(self) -> None:
        """Takes in the requests whose grammar is compiled."""
        for each in self._joining.done() if self._joining else ():
            refused = self._take_in(each.request, each.guide) if isinstance(each, Ready) else each
            if refused is not None:
                self._refused.append(refused)

    def _without(self, stuck: list[Sequence], moved: tuple[Moved, ...]) -> tuple[Moved, ...]:
        """Ends sequences that cannot go on within their grammar: nobody is told what this step chose for them."""
        for sequence in stuck:
            assert sequence.guide is not None
            self.abort(sequence.id)
            self._refused.append(Refused(sequence.id, "constraint", sequence.guide.error))
        ids = {sequence.id for sequence in stuck}
        return tuple(each for each in moved if each.id not in ids)

    def _book(self, batch: Batch, verdicts: Verdicts, reasons: list[FinishReason | None], seconds: float) -> None:
        """What the step was to each sequence: for the trial, and for the comparison with those that are served plainly."""
        for sequence, emitted, reason in zip(batch.decoding, verdicts.emitted, reasons, strict=False):
            self.stats.served(sequence, len(emitted), seconds)
            self.trial.stepped(sequence, len(emitted), seconds, reason)

    def take_newer(self) -> None:
        """Flips to versions that are loaded and checked, and forgets tenants that were purged. Between two steps."""
        swaps, unfit = (self.swap, *self.further_swaps), self.speculator.take_prepared()
        for swap in swaps:
            for each in unfit:
                swap.unfit(each, self.speculator)
            swap.if_newer(self.speculator)
        self.purges.heed(self._forget)

    def _forget(self, tenant: str, before: float) -> None:
        self.speculator.forget(tenant, before)
        self.controller.forget(tenant)
        self.scheduler.cache.forget(tenant)

    def close(self) -> None:
        """Ends what runs beside it."""
        self._joining.close()
        for swap in (self.swap, *self.further_swaps):
            swap.stop()
        self.purges.stop()
        self.speculator.close()

    def audit(self) -> None:
        """What must hold whenever nothing runs: every page is free again."""
        self.scheduler.check()
        self.stats.num_audits += 1

    def _end(self, batch: Batch, reasons: list[FinishReason | None]) -> None:
        for sequence, reason in zip(batch.choosing, reasons, strict=True):
            if reason is not None:
                self.speculator.end(sequence)
                self.trial.end(sequence)

    def _time(self, batch: Batch, drafts: Drafts, verdicts: Verdicts, draft_seconds: float, step_seconds: float) -> None:
        self.stats.stepped(draft_seconds + step_seconds)
        if not batch.chunks:
            num_emitted = sum(len(emitted) for emitted in verdicts.emitted)
            self.controller.observe(len(batch.decoding), drafts.num_drafted, num_emitted, step_seconds, draft_seconds)
