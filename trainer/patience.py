"""Patience: when to judge, when to train, and when to give the accelerator back."""

from __future__ import annotations

from typing import Literal

from trainer.gate import Decision
from trainer.settings import TrainerSettings
from trainer.state import Progress

Activity = Literal["collecting", "training", "caught up", "no gain in sight"]

GIVEN_UP_AFTER = 2
"""Judgements in a row without a gain after which training stops: one may be bad luck."""
_FIRST_WAIT = 64
_LONGEST_WAIT = 4096
"""Traces to wait for after giving up; doubled each time, up to the longest."""
_MORE_EVIDENCE = 1 / 4
"""Of the held-out conversations there were, that must have come anew before the next look: each look costs evidence."""


class Patience:
    """Decisions over a `Progress`, which they are kept in."""

    def __init__(self, settings: TrainerSettings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress

    def activity(self, num_studied: int) -> Activity:
        """What to do about training, given the number of traces there have been to study."""
        progress = self._progress
        if num_studied < self._settings.min_traces:
            return "collecting"
        if num_studied < progress.resume_at:
            return "no gain in sight"
        if progress.rows_taught >= self._settings.passes * progress.rows_received:
            return "caught up"
        return "training"

    def due(self, num_conversations: int, num_held_out: int) -> bool:
        """Whether to judge now: enough steps, enough conversations, and enough new ones since the last look.

        num_held_out: traces ever held out.
        """
        progress, settings = self._progress, self._settings
        if num_conversations < settings.min_conversations:
            return False
        if progress.num_steps - progress.judged_at_step < settings.min_steps:
            return False
        fresh = num_held_out - progress.judged_through
        wanted = _MORE_EVIDENCE * num_conversations * 2**progress.fruitless
        return progress.looks == 0 or fresh >= min(wanted, settings.max_held_out)

    def judged(self, decision: Decision, num_studied: int, num_held_out: int) -> None:
        """Draws the consequences of a judgement."""
        progress = self._progress
        progress.judged_at_step = progress.num_steps
        progress.judged_through = num_held_out
        if decision == "passed":
            progress.looks = progress.fruitless = 0
        elif decision == "not enough evidence":
            progress.fruitless = 0
        else:
            progress.fruitless += 1
        if progress.fruitless >= GIVEN_UP_AFTER:
            wait = _FIRST_WAIT * 2 ** (progress.fruitless - GIVEN_UP_AFTER)
            progress.resume_at = num_studied + min(wait, _LONGEST_WAIT)

    def shifted(self) -> None:
        """The traffic has changed: whatever was given up is worth another try."""
        self._progress.fruitless = 0
        self._progress.resume_at = 0
