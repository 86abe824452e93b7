"""Outlook: what an arm would bring, told from trees that its sources proposed whether or not it was the one to run."""

from __future__ import annotations

from dataclasses import dataclass

_KEEP = 0.95
"""Weight that the past of a promise keeps with each tree that is scored: its last twenty."""
_KEEP_WORD = 0.99
"""The same of how well promises were kept, which changes with the source rather than with the text."""
_PRIOR = 8.0
"""Tokens for which a source's own word counts."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What one arm's tree for one sequence would come to, were it verified; and, once the text is there, what it came to."""

    arm: frozenset[str]
    num_sequences: int
    """Of the step it was made for."""
    sampled: bool
    """Whether the sequence's choices are."""
    expected: float
    """Tokens that it promises, by its confidence, the target's own token included."""
    tokens: int
    """That it would have brought; 0 until the text is there."""
    steps: float
    """What it would have cost, drafting included, in plain steps."""
    group: tuple[str, str] = ("", "")
    """The sequence's tenant and domain."""


class Outlook:
    """Of one arm: tokens per plain step's time. The promise follows the text at once and hardly varies; whether promises are kept
    is learnt slowly, from the text as it came."""

    def __init__(self) -> None:
        self.num_scored = 0
        self._expected = self._steps = 0.0
        self._kept = self._promised = _PRIOR

    @property
    def gain(self) -> float:
        """Tokens per second over plain decoding's. To be asked once something was scored."""
        return self._expected / self._steps * self._kept / self._promised

    def take(self, promise: Promise) -> None:
        """Takes in one tree whose text is there."""
        self.num_scored += 1
        self._expected = _KEEP * self._expected + promise.expected
        self._steps = _KEEP * self._steps + promise.steps
        self._kept = _KEEP_WORD * self._kept + (1 - _KEEP_WORD) * _PRIOR + promise.tokens
        self._promised = _KEEP_WORD * self._promised + (1 - _KEEP_WORD) * _PRIOR + promise.expected
