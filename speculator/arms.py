"""Arms: which sets of sources to draft with, by the tokens per second that each has really brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Arm = frozenset[str]
NONE: Arm = frozenset()
"""Plain decoding: always among the arms."""

_KEEP = 0.98
"""Weight that the past of an arm keeps with each step it runs: its last fifty or so. What a step brings varies as much as what
it brings on average: over twenty steps the better of two arms too often looks like the worse one."""
_FADE = 0.995
"""The same with each step it does not run: what was measured a few hundred steps ago hardly counts against a
new trial."""
_LATELY = 0.1
_CLEARLY_WORSE = 0.8
"""Gain over the last ten steps or so under which an arm is clearly worse than plain decoding: what it brought before no longer
counts."""
_PRIOR = 2.0
_OPTIMISM = 1.05
"""An arm never tried counts for two steps at this gain: enough to try it."""
_MARGIN = 1.05
"""Gain over the arm in use that another must show to take over."""
_TRIAL, _SHORTEST_TRIAL = 16, 2
"""Drafts that a trial is made of, one for each sequence in each step, and its fewest steps; one step is enough for plain
decoding, whose gain hardly varies."""
_LONGEST_TRIAL = 8
_FIRST_WAIT, _LONGEST_WAIT = 32, 1024
"""Steps between the trials of an arm: doubled whenever it loses again."""


@dataclass(slots=True)
class _Record:
    """Gains are relative to plain decoding at the cost table's price, so that they compare across batch sizes
    and slow moments."""

    gained: float
    steps: float
    lately: float = _OPTIMISM
    """The gain of its last ten steps or so."""
    seen: int = 0
    """Step at which it was brought up to date."""
    wait: int = _FIRST_WAIT
    next_trial: int = 0

    @property
    def gain(self) -> float:
        return self.gained / self.steps


class Arms:
    """Chooses an arm for each step: the best so far, or another that is due for a trial. No chance is
    involved."""

    def __init__(self, arms: Sequence[Arm], twins: tuple[Arm, Arm] | None = None, num_sequences: int = 1) -> None:
        """arms: the preferred first; plain decoding is added to them. twins: two of them that are compared
        better than by their gains, elsewhere (see `prefer`): while one is the best, the other is neither
        tried nor chosen here. num_sequences: of the batches it chooses for, about: of many a step says much."""
        self._trial = min(max(_TRIAL // num_sequences, _SHORTEST_TRIAL), _LONGEST_TRIAL)
        self._records = {arm: _Record(_PRIOR * _OPTIMISM, _PRIOR) for arm in arms}
        self._records[NONE] = _Record(_PRIOR, _PRIOR)
        for number, record in enumerate(self._records.values()):
            record.next_trial = _FIRST_WAIT + number * self._trial
        self._twin = {twins[0]: twins[1], twins[1]: twins[0]} if twins else {}
        self._step = 0
        self.best: Arm = next(iter(self._records))
        self._on_trial: Arm | None = None
        self._trial_ends = 0

    def choose(self) -> Arm:
        """The arm of the next step."""
        self._step += 1
        if self._on_trial is not None and self._step < self._trial_ends:
            return self._on_trial
        self._reconsider()
        self._on_trial = self._due()
        return self.best if self._on_trial is None else self._on_trial

    def observe(self, arm: Arm, gain: float) -> None:
        """What a step with `arm` brought: tokens per second over plain decoding's."""
        record = self._records[arm]
        self._fade(record)
        record.gained = _KEEP * record.gained + gain
        record.steps = _KEEP * record.steps + 1.0
        record.lately += _LATELY * (gain - record.lately)
        if record.lately < _CLEARLY_WORSE and record.lately < record.gain:
            record.steps = min(record.steps, 1 / _LATELY)
            record.gained = record.steps * record.lately

    def prefer(self, arm: Arm) -> None:
        """The arm is better than its twin: takes its place if the twin is the best."""
        if self._twin[arm] == self.best:
            self._records[arm] = replace(self._records[self.best])
            self.best = arm

    def gains(self) -> dict[Arm, float]:
        return {arm: record.gain for arm, record in self._records.items()}

    def _reconsider(self) -> None:
        """Changes to an arm that is clearly better; to plain decoding as soon as it is not worse."""
        if self._on_trial is not None:
            record = self._records[self._on_trial]
            record.wait = min(2 * record.wait, _LONGEST_WAIT)
            record.next_trial = self._step + record.wait
        leader = max(self._rivals(), key=lambda arm: self._records[arm].gain)
        bar = self._records[self.best].gain * (1.0 if leader == NONE else _MARGIN)
        if self._records[leader].gain > bar:
            self._records[self.best].next_trial = self._step + _FIRST_WAIT
            self._records[leader].wait = _FIRST_WAIT
            self.best = leader

    def _due(self) -> Arm | None:
        """The arm whose trial starts now."""
        for arm in self._rivals():
            if self._step >= self._records[arm].next_trial:
                self._trial_ends = self._step + (1 if arm == NONE else self._trial)
                return arm
        return None

    def _rivals(self) -> list[Arm]:
        return [arm for arm in self._records if arm not in (self.best, self._twin.get(self.best))]

    def _fade(self, record: _Record) -> None:
        """Ages a record by the steps it did not run."""
        weight = _FADE ** max(self._step - record.seen - 1, 0)
        record.gained *= weight
        record.steps *= weight
        record.seen = self._step
