"""Pools: every trace the trainer holds on to, studied or held out."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch

from trainer.feed import Intake
from trainer.kept import Kept
from trainer.recent import Recent
from trainer.reservoir import Reservoir
from trainer.settings import TrainerSettings
from trainer.state import Record


class Pools:
    """The newest studied traces, a reservoir of older ones, and the newest held-out ones; each bounded."""

    def __init__(self, settings: TrainerSettings, record: Record, generator: torch.Generator) -> None:
        size, share = settings.pool_bytes, settings.tenant_share
        self.recent = Recent(settings.window_traces, size, share)
        self.older = Reservoir(settings.reservoir_traces, size, share, generator)
        self.held_out = Recent(settings.max_held_out, size, share)
        self.recent.refill(record.recent)
        self.older.refill(record.older)
        self.held_out.refill(record.held_out)

    def __iter__(self) -> Iterator[Kept]:
        yield from self.studied
        yield from self.held_out

    @property
    def studied(self) -> Iterator[Kept]:
        yield from self.older
        yield from self.recent

    @property
    def num_studied(self) -> int:
        """Traces held to study."""
        return len(self.recent) + len(self.older)

    @property
    def num_conversations(self) -> int:
        """Held-out conversations to judge on."""
        return len({trace.conversation for trace in self.held_out})

    def take(self, intake: Intake) -> None:
        """Takes new traces in; recent ones that must make room become older ones."""
        for trace in intake.studied:
            for old in self.recent.add(trace):
                self.older.add(old)
        for trace in intake.held_out:
            self.held_out.add(trace)

    def forget(self, numbers: Collection[int]) -> None:
        """Drops these traces wherever they are."""
        for pool in (self.recent, self.older, self.held_out):
            pool.keep(lambda trace: trace.number not in numbers)

    def fill(self, record: Record) -> None:
        """Writes everything to `record`."""
        record.recent = list(self.recent)
        record.older = self.older.strata
        record.held_out = list(self.held_out)
