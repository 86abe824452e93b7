"""Stopwatch: a speculator that is timed."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts
from speculator.protocol import Budget, Checkpoint, Speculator
from speculator.verify import Verdicts

T = TypeVar("T")


class Stopwatch:
    """Does as `source` does, and adds up what that takes."""

    def __init__(self, source: Speculator) -> None:
        self._source = source
        self.name, self.version = source.name, source.version
        self.needs_hidden, self.needs_layers = source.needs_hidden, source.needs_layers
        self.num_proposals = 0
        self.proposing = 0.0
        """Seconds."""
        self.learning = 0.0
        """Seconds of everything else."""

    def begin(self, sequence: Sequence) -> None:
        self._learn(lambda: self._source.begin(sequence))

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        started = perf_counter()
        drafts = self._source.propose(batch, budget)
        self.proposing += perf_counter() - started
        self.num_proposals += 1
        return drafts

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        self._learn(lambda: self._source.verifying(batch, drafts))

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        self._learn(lambda: self._source.observe(batch, drafts, verdicts))

    def end(self, sequence: Sequence) -> None:
        self._learn(lambda: self._source.end(sequence))

    def load(self, checkpoint: Checkpoint) -> None:
        self._source.load(checkpoint)

    def cost(self, rows: int) -> float:
        return self._source.cost(rows)

    def _learn(self, what: Callable[[], T]) -> T:
        started = perf_counter()
        done = what()
        self.learning += perf_counter() - started
        return done
