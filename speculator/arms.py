"""Arms: which sets of sources to draft with.

An arm that runs is judged by the tokens per second that it really brings. The others are judged by their outlook: the text does
not depend on who drafted, so every arm can be scored on it (full information: Not-a-Bandit, arXiv 2510.20064), and none has to
run to be known. What steps really brought, against the outlook of the arms that ran, corrects the outlook of all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from speculator.outlook import Outlook, Promise

Arm = frozenset[str]
NONE: Arm = frozenset()
"""Plain decoding: always among the arms."""

_KEEP = 0.98
"""Weight that the past of an arm keeps with each step it runs: its last fifty or so. What a step brings varies as much as what
it brings on average: over twenty steps the better of two arms too often looks like the worse one."""
_FADE = 0.995
"""The same with each step it does not run: what was measured a few hundred steps ago hardly counts against a
new trial."""
_FADE_FORESEEN = 0.98
"""The same where there is an outlook, which is of today."""
_OUTLOOK_STEPS = 10.0
"""Measured steps that an outlook counts for."""
_DOUBT = 10.0
"""Measured steps that it takes to correct outlooks by half of what they are off."""
_LEAST_CORRECTION, _MOST_CORRECTION = 0.8, 1.25
"""What lies outside is the fault of one outlook that is out of date, not of what everybody reckons with."""
_FEWEST_SCORES = 8
"""Scored trees that make an outlook."""
_HOPELESS = 0.97
"""Share of the gain that an arm must show to take over, under which nobody tries it out."""
_LATELY = 0.1
_CLEARLY_WORSE = 0.8
"""Gain over the last ten steps or so under which an arm is clearly worse than plain decoding: what it brought before no longer
counts."""
_PRIOR, _PRIOR_SPREAD = 2.0, 0.2
_OPTIMISM = 1.05
"""An arm never tried counts for two steps at this gain: enough to try it."""
_MARGIN = 1.05
"""Gain over the arm in use that another must show to take over."""
_CROWD_MARGIN = 1.15
"""The same over plain decoding where many answers are generated at once..."""
_CROWD_PREMIUM = 1.08
"""... and the gain under which it is given up again there: every answer pays for the drafts of the others, and those beside
prompts are in no measured step."""
_TRIAL, _WARMING = 8, 2
"""Steps of a trial, between which there are as many of the arm in use. The first do not count: who has not drafted for a while
has much to hear of, and nothing of it in the cache."""
CROWD = 4
"""Sequences from which on drafting may pay for some and not for others (see `speculator.rests`)."""
_CROWD_TRIAL, _SETTLING = 6, 3
"""Steps of a trial with as many: each says much; the first do not count, in which it shows for whom drafting pays."""
_CROWD_KEEP = 0.9
"""As `_KEEP`, with as many: the last ten steps say as much as fifty of one sequence."""
_PLAIN_KEEP = 0.75
"""As `_KEEP`, of plain decoding: how far off its price is now, which is as far off for every arm."""
_LONGER = 24
"""Steps by which a trial is drawn out, at most, while it is not clear whether the arm is better."""
_DELIBERATE = 4
"""Steps from one decision to the next while nothing is on trial: to weigh six arms takes 50 us beside a pass."""
_PLAIN_TRIAL = 2
"""Steps of a trial of plain decoding, whose gain hardly varies."""
_CLEAR = 1.2
"""Gain over plain decoding above which that is tried ever more seldom."""
_FIRST_WAIT, _LONGEST_WAIT = 32, 1024
"""Steps between the trials of an arm: twice as many whenever it loses again, four times as many in a crowd."""
_LONGEST_PLAIN_WAIT = 128
"""The same for plain decoding: its price is what everything is compared with."""


@dataclass(slots=True)
class _Record:
    """Gains are relative to plain decoding at the cost table's price, so that they compare across batch sizes
    and slow moments."""

    gained: float
    squared: float
    """Sum of the squares of what `gained` is the sum of."""
    steps: float
    lately: float = _OPTIMISM
    """The gain of its last ten steps or so."""
    seen: int = 0
    """Step at which it was brought up to date."""
    wait: int = _FIRST_WAIT
    next_trial: int = 0
    outlook: Outlook = field(default_factory=Outlook)

    @classmethod
    def unknown(cls, gain: float) -> _Record:
        return cls(_PRIOR * gain, _PRIOR * (gain**2 + _PRIOR_SPREAD**2), _PRIOR)

    @property
    def gain(self) -> float:
        return self.gained / self.steps

    @property
    def error(self) -> float:
        """Standard error of `gain`."""
        return math.sqrt(max(self.squared / self.steps - self.gain**2, 0.0) / self.steps)


class Arms:
    """Chooses an arm for each step: the best so far, or another that is due for a trial. No chance is
    involved."""

    def __init__(self, arms: Sequence[Arm], num_sequences: int = 1, costly: Collection[Arm] = ()) -> None:
        """arms: the preferred first; plain decoding is added to them. num_sequences: of the batches it chooses for, about: of
        many a step says much. costly: of a crowd's arms those that are not tried before they have an outlook: what is one step
        of one answer's time is one of everybody's."""
        crowd = num_sequences >= CROWD
        self._costly = frozenset(costly) if crowd else frozenset()
        self._trial, self._settling, self._patience = (_CROWD_TRIAL, _SETTLING, 4) if crowd else (_TRIAL, _WARMING, 2)
        self._keep = _CROWD_KEEP if crowd else _KEEP
        self._margin, self._premium = (_CROWD_MARGIN, _CROWD_PREMIUM) if crowd else (_MARGIN, 1.0)
        self._records = {arm: _Record.unknown(_OPTIMISM) for arm in arms}
        self._records[NONE] = _Record.unknown(1.0)
        for number, record in enumerate(self._records.values()):
            record.next_trial = _FIRST_WAIT + number * self._trial
        self._step = 0
        # many answers at once leave little room for drafts: there they have to show first that they pay
        self.best: Arm = NONE if crowd else next(iter(self._records))
        self._on_trial: Arm | None = None
        self._trial_ends = self._trial_counts = 0
        self._correction = 1.0
        """What steps really brought over what their arms' outlook is."""

    def copied(self) -> Arms:
        """Those of a part of the batches that these are for: the same to begin with, but sooner of another mind."""
        copy = deepcopy(self)
        for record in copy._records.values():
            weight = min(1.0, _OUTLOOK_STEPS / record.steps)
            record.gained, record.squared, record.steps = (
                weight * each for each in (record.gained, record.squared, record.steps)
            )
        return copy

    def choose(self) -> Arm:
        """The arm of the next step."""
        self._step += 1
        if self._on_trial is None and self._step % _DELIBERATE:
            return self.best
        if self._on_trial is not None and self._step < self._trial_ends:
            return self._in_turn(self._on_trial)
        self._correction = self._corrected()
        if self._on_trial is not None and self._undecided(self._on_trial):
            return self._in_turn(self._on_trial)
        self._reconsider()
        self._on_trial = self._due()
        return self.best if self._on_trial is None else self._in_turn(self._on_trial)

    def _in_turn(self, on_trial: Arm) -> Arm:
        """Every other step of a trial is that of the arm in use, so that both have the same machine and the same texts: behind a
        pass over a prompt steps take half as long again, and get shorter over six or so; and texts get longer."""
        return self.best if (self._trial_ends - self._step) % 2 else on_trial

    def observe(self, arm: Arm, gain: float, took: float = 1.0) -> None:
        """What a step with `arm` brought: tokens per second over plain decoding's. took: in plain steps, for which its gain
        counts: a mean over steps would make little of those that took long."""
        if arm == self._on_trial and self._step < self._trial_counts:
            return
        record = self._records[arm]
        self._fade(record)
        keep = _PLAIN_KEEP if arm == NONE else self._keep
        record.gained = keep * record.gained + took * gain
        record.squared = keep * record.squared + took * gain**2
        record.steps = keep * record.steps + took
        record.lately += min(_LATELY * took, 0.5) * (gain - record.lately)
        if record.lately < _CLEARLY_WORSE and record.lately < record.gain:
            steps = min(record.steps, 1 / _LATELY)
            record.squared *= steps / record.steps
            record.gained, record.steps = steps * record.lately, steps

    def foresee(self, promise: Promise) -> None:
        """What an arm would have brought to one sequence of a step."""
        self._records[promise.arm].outlook.take(promise)

    def forget(self, source: str) -> None:
        """A source has other weights now: what its arms brought and promised was others', and they are tried soon, however
        long they were to wait."""
        for arm, record in self._records.items():
            if source in arm:
                record.outlook = Outlook()
                record.wait = _FIRST_WAIT
                record.next_trial = min(record.next_trial, self._step + _FIRST_WAIT)
                weight = min(1.0, _PRIOR / record.steps)
                record.gained, record.squared, record.steps = (
                    weight * each for each in (record.gained, record.squared, record.steps)
                )

    def gains(self) -> dict[Arm, float]:
        """What each is thought to bring."""
        return {arm: self._gain(arm) for arm in self._records}

    def _has_outlook(self, arm: Arm) -> bool:
        return self._records[arm].outlook.num_scored >= _FEWEST_SCORES

    def _gain(self, arm: Arm) -> float:
        """By what was measured, the older the less it counts, and by the outlook."""
        record = self._records[arm]
        if not self._has_outlook(arm):
            return record.gain
        steps, foreseen = self._fresh(record, _FADE_FORESEEN), self._correction * record.outlook.gain
        return (steps * record.gain + _OUTLOOK_STEPS * foreseen) / (steps + _OUTLOOK_STEPS)

    def _corrected(self) -> float:
        """Measured gains over outlooks as they are now: one that was too rosy when its arm ran is held against nobody."""
        measured = foreseen = _DOUBT
        for arm, record in self._records.items():
            if self._has_outlook(arm):
                steps = self._fresh(record, _FADE)
                measured += steps * record.gain
                foreseen += steps * record.outlook.gain
        return min(max(measured / foreseen, _LEAST_CORRECTION), _MOST_CORRECTION)

    def _fresh(self, record: _Record, fade: float) -> float:
        """Measured steps of an arm, less what has faded since."""
        return record.steps * fade ** max(self._step - record.seen - 1, 0)

    def _reconsider(self) -> None:
        """Changes to an arm that is clearly better; to plain decoding as soon as it is not worse."""
        if self._on_trial is not None:
            record = self._records[self._on_trial]
            record.wait = self._next_wait(self._on_trial, record)
            record.next_trial = self._step + record.wait
        leader = max(filter(self._may_lead, self._rivals()), key=self._gain, default=self.best)
        if self._gain(leader) > self._bar(leader):
            self._records[self.best].next_trial = self._step + _FIRST_WAIT
            self._records[leader].wait = _FIRST_WAIT
            self.best = leader

    def _next_wait(self, arm: Arm, record: _Record) -> int:
        """Until the next trial of an arm that was just tried, if it does not take over."""
        if arm != NONE:
            return min(self._patience * record.wait, _LONGEST_WAIT)
        clear = self._gain(self.best) > _CLEAR * self._gain(NONE)
        return min(2 * record.wait, _LONGEST_PLAIN_WAIT) if clear else _FIRST_WAIT

    def _may_lead(self, arm: Arm) -> bool:
        """From plain decoding nobody takes over on an outlook: a trial has to have shown the gain."""
        record = self._records[arm]
        tried = self._fresh(record, _FADE_FORESEEN) >= (self._trial - self._settling) / 2 and record.gain > self._bar(arm)
        return self.best != NONE or tried

    def _undecided(self, arm: Arm) -> bool:
        """Whether an arm on trial, for all that is known, may be better or not."""
        gain, bar = self._gain(arm), self._bar(arm)
        return gain - self._records[arm].error < bar < gain and self._step < self._trial_ends + _LONGER

    def _bar(self, arm: Arm) -> float:
        """The gain that an arm must show to take over."""
        if arm == NONE:
            return self._gain(self.best) / self._premium
        return self._gain(self.best) * (self._margin if self.best == NONE else _MARGIN)

    def _due(self) -> Arm | None:
        """The arm whose trial starts now. One whose outlook is hopeless waits as if it had lost."""
        for arm in self._rivals():
            record = self._records[arm]
            if self._step < record.next_trial or (arm in self._costly and not self._has_outlook(arm)):
                continue
            if arm != NONE and self._has_outlook(arm) and self._gain(arm) < _HOPELESS * self._bar(arm):
                record.next_trial = self._step + record.wait
                continue
            settling, length = (0, _PLAIN_TRIAL) if arm == NONE else (self._settling, self._trial)
            self._trial_counts, self._trial_ends = self._step + 2 * settling, self._step + 2 * length
            return arm
        return None

    def _rivals(self) -> list[Arm]:
        return [arm for arm in self._records if arm != self.best]

    def _fade(self, record: _Record) -> None:
        """Ages a record by the steps it did not run."""
        weight = self._fresh(record, _FADE_FORESEEN if record.outlook.num_scored >= _FEWEST_SCORES else _FADE) / record.steps
        record.gained *= weight
        record.squared *= weight
        record.steps *= weight
        record.seen = self._step
