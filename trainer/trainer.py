"""Trainer: feed -> teacher -> step -> judge -> publish, as one endless row of short slices."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from pipelines.errors import LogUnavailable, RegistryUnavailable
from pipelines.registry import Promotion, RunState
from trainer.audit import Audit
from trainer.descent import Descent, extended
from trainer.feed import Feed
from trainer.gate import Judgement
from trainer.in_training import MAX_SKIPPED, InTraining
from trainer.lead import Lead
from trainer.memory import Memory
from trainer.patience import Patience
from trainer.pools import Pools
from trainer.review import Review
from trainer.runs import Runs
from trainer.settings import TrainerSettings
from trainer.state import Record
from trainer.study import Study

log = logging.getLogger(__name__)

BATCH = 64
"""Traces read from the log in one slice: about 5 ms."""
_AUDIT_SECONDS = 2.0


class Trainer:
    """The parts at work. What they know is in `record`; whoever runs it has it saved.

    clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        record: Record,
        *,
        memory: Memory,
        feed: Feed,
        pools: Pools,
        audit: Audit,
        study: Study,
        distiller: InTraining,
        lead: Lead,
        descent: Descent,
        review: Review,
        patience: Patience,
        runs: Runs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record = record
        self.state = "starting"
        """What it is doing, in words."""
        self.away: dict[str, str] = {}
        """The pipes that do not answer, and why."""
        self.lag = 0
        """Offsets between what was read and the end of the log, as last seen."""
        self.saving_due = False
        """Something happened that should not have to be done again."""
        self._settings = settings
        self._memory = memory
        self._feed = feed
        self.pools = pools
        self._audit = audit
        self._study = study
        self.distiller = distiller
        self._lead = lead
        self._descent = descent
        self._review = review
        self._patience = patience
        self._runs = runs
        self._clock = clock
        self._look_at = self._read_at = self._audit_at = float("-inf")

    @property
    def num_conversations(self) -> int:
        """Held-out conversations that the next judgement may use."""
        return self.pools.num_conversations

    @property
    def resting(self) -> bool:
        """Whether it hands the accelerator back because there is nothing to gain from it just now."""
        return self.state in ("no gain in sight", "caught up")

    def work(self) -> Iterator[bool]:
        """Never ends. True after each slice of work, False when there is nothing to do until more traffic comes.

        While the log or the registry is away it goes on with what it has, and judges nobody.
        """
        while True:
            try:
                yield from self._round()
            except RegistryUnavailable as error:
                self._away("registry", error)
                yield False

    def save(self) -> None:
        """Saves everything. Between two slices, at any of them. Raises OSError when the disk does not take it."""
        self._memory.save()
        self._feed.saved()
        self.saving_due = False

    def resign(self) -> None:
        """Lets another trainer lead at once. Raises RegistryUnavailable."""
        self._lead.resign()

    def _round(self) -> Iterator[bool]:
        """One step of training or one judgement, after a look around."""
        yield from self._look_around()
        if not self._descent.looked:
            self.state = "waiting for the registry"
            yield False
        elif not self._lead.held:
            self.state = "waiting: another trainer leads"
            yield False
        elif not self._descent.slot.training:
            self.state = "paused"
            yield False
        elif self._judging_due():
            yield from self._judge()
        elif self._training_due():
            for num_rows in self._study.step():
                self.record.progress.rows_taught += num_rows
                self._note_steps()
                yield True
            for _ in self._review.prepare():
                yield True
        else:
            yield False

    def _look_around(self) -> Iterator[bool]:
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + self._settings.poll_seconds
            self._look_at_registry()
        while self._clock() >= self._read_at and self._take_in():
            yield True
        if now >= self._audit_at:
            self._audit_at = now + _AUDIT_SECONDS
            with suppress(LogUnavailable):
                self.lag = self._feed.lag()
                self._audit.look()

    def _look_at_registry(self) -> None:
        try:
            self._lead.keep()
            self._descent.look()
            if self._lead.held and self._runs.claim(self.distiller.num_tries) and self._runs.plan.mode == "full":
                self._descent.restart(static=True)
        except RegistryUnavailable as error:
            self._away("registry", error)
        else:
            self.away.pop("registry", None)

    def _away(self, pipe: str, error: Exception) -> None:
        if self.away.get(pipe) != str(error):
            log.warning("%s away: %s", pipe, error)
        self.away[pipe] = str(error)

    def _take_in(self) -> bool:
        """Reads new traces; after the last of them the log is left alone for a while. False: there were none."""
        try:
            intake = self._feed.read(BATCH)
        except LogUnavailable as error:
            self._away("traffic log", error)
            self._read_at = self._clock() + self._settings.poll_seconds
            return False
        self.away.pop("traffic log", None)
        self.pools.take(intake)
        progress = self.record.progress
        progress.rows_received += sum(trace.num_rows for trace in intake.studied)
        progress.span = extended(progress.span, intake.studied)
        for length in intake.acceptance_lengths:
            if self.record.drift.see(length):
                log.info("drafts are accepted less than they were: training goes on")
                self._patience.shifted()
        if intake.num_read < BATCH:
            self._read_at = self._clock() + self._settings.poll_seconds
        return intake.num_read > 0

    def _note_steps(self) -> None:
        progress, distiller = self.record.progress, self.distiller
        progress.age, progress.num_steps = distiller.age, distiller.num_steps
        progress.num_skipped, progress.loss = distiller.num_skipped, distiller.loss
        if distiller.skipped_in_a_row >= MAX_SKIPPED:
            log.error("%d steps in a row were not finite: training starts again from the champion", MAX_SKIPPED)
            self._descent.restart()

    def _training_due(self) -> bool:
        self.state = self._patience.activity(self._feed.state.num_studied)
        # no traffic yet, none that the run wants, or everything was purged
        if not any(self._runs.wants(trace) for trace in self.pools.studied):
            self.state = "collecting"
            self._runs.at("collecting", "waiting for traffic")
            return False
        if self._runs.open:
            self.state = "training"
            self._runs.at("training")
        return self.state == "training"

    def _judging_due(self) -> bool:
        if "registry" in self.away or self._descent.slot.share > 0:
            return False  # while a canary serves, nobody knows yet against whom
        if self._runs.open:
            return self._runs.steps(self.distiller.num_tries) >= (self._runs.plan.max_steps or self._settings.min_steps)
        return self._patience.due(self.pools.num_conversations, self._feed.state.num_held_out)

    def _judge(self) -> Iterator[bool]:
        self.state = "judging"
        self._runs.at("judging")
        promotion = self._review.promotion
        is_full = self._runs.plan.mode == "full"
        reviewing = self._review.work()
        while True:
            try:
                next(reviewing)
            except StopIteration as done:
                judgement, version = done.value
                self._judged(judgement, version, promotion)
                if is_full and judgement.decision != "passed":
                    self._descent.restart()  # rather than to go on from what was turned away
                break
            yield True
        yield True

    def _judged(self, judgement: Judgement, version: str | None, promotion: Promotion) -> None:
        progress, feed = self.record.progress, self._feed.state
        self._patience.judged(judgement.decision, feed.num_studied, feed.num_held_out)
        progress.last_judgement = str(judgement)
        progress.last_gain, progress.last_gain_lower = judgement.gain, judgement.gain_lower
        progress.num_judgements += 1
        progress.num_published += judgement.decision == "passed" and promotion == "auto"
        self._runs.at(_end_of_run(judgement, promotion), str(judgement), version)
        self.saving_due = True


def _end_of_run(judgement: Judgement, promotion: Promotion) -> RunState:
    if judgement.decision == "passed":
        ends: dict[Promotion, RunState] = {"auto": "champion", "canary": "canary"}
        return ends.get(promotion, "candidate")
    return "failed" if judgement.decision == "failed" else "rejected"
