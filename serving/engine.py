"""Engine: the main loop of serving. `step` is the sentence that describes the system."""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.messages import Moved, Refused, Request
from serving.scheduler import Scheduler
from serving.stats import EngineStats
from serving.swap import Swap
from serving.target import Target
from speculator.controller import Controller
from speculator.merged import MergedSpeculator
from speculator.verify import verify


class Engine:
    """Generates for every request submitted, one step at a time. Single-threaded; owns target, pages and speculators."""

    def __init__(
        self,
        target: Target,
        scheduler: Scheduler,
        speculator: MergedSpeculator,
        controller: Controller,
        swap: Swap,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.target = target
        self.scheduler = scheduler
        self.speculator = speculator
        self.controller = controller
        self.swap = swap
        self.stats = EngineStats()
        self._clock = clock

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    def submit(self, request: Request) -> Refused | None:
        """Takes a request in, or says why it will never run."""
        answer = self.scheduler.submit(request)
        if isinstance(answer, Refused):
            return answer
        self.speculator.begin(answer)
        return None

    def abort(self, request_id: int) -> Moved | None:
        """Frees everything of a request at once; None if it is not here (any more)."""
        sequence = self.scheduler.abort(request_id)
        if sequence is None:
            return None
        self.speculator.end(sequence)
        return Moved(request_id, (), "abort", 0, -1)

    def step(self) -> tuple[Moved, ...]:
        """One forward pass for everybody; what it emitted for each sequence."""
        started = self._clock()
        batch = self.scheduler.schedule()
        drafts = self.speculator.propose(batch, self.controller.budget(batch))
        drafts = drafts.with_roots([sequence.tokens[-1] for sequence in batch.choosing[len(batch.decoding) :]])
        drafted = self._clock()
        self.target.launch(batch, drafts)
        self.speculator.verifying(batch, drafts)
        scores = self.target.wait()
        scored = self._clock()
        verdicts = verify(drafts, scores.logits, batch.sampling, [sequence.num_output for sequence in batch.choosing])
        self.target.keep(batch, verdicts)
        reasons = self.scheduler.commit(batch, verdicts)
        self.speculator.observe(batch, drafts, verdicts)
        moved = self.stats.record(batch, drafts, verdicts, reasons)
        for sequence, reason in zip(batch.choosing, reasons, strict=True):
            if reason is not None:
                self.speculator.end(sequence)
        self.swap.if_newer(self.speculator)
        self.controller.observe_step(batch, drafts, verdicts, drafted - started, scored - drafted, self._clock() - started)
        self.stats.stepped(self._clock() - started)
        return moved

    def audit(self) -> None:
        """What must hold whenever nothing runs: every page is free again."""
        self.scheduler.pool.check()
        assert self.scheduler.num_running or self.scheduler.pool.num_used == 0, "idle, but pages are held"
        self.stats.num_audits += 1
