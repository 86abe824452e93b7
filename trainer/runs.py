"""Runs: retraining that somebody asked for, from the queue of the registry to an end state.

A run goes on without waiting for traffic, whatever the trainer's patience says, and ends before the same gate
as everything else.
"""

from __future__ import annotations

import logging

from pipelines.errors import RegistryError, RegistryUnavailable
from pipelines.registry import Registry, Run, RunState, Slot

log = logging.getLogger(__name__)


class Runs:
    """Follows the open run of the slot, if there is one."""

    def __init__(self, registry: Registry, slot: Slot) -> None:
        self._registry = registry
        self._slot = slot
        self._run: Run | None = None
        self._started_at = 0

    @property
    def open(self) -> bool:
        return self._run is not None

    def claim(self, num_steps: int) -> None:
        """Looks for an open run; one that was cancelled is dropped. Raises RegistryUnavailable."""
        found = self._registry.claim_run(self._slot)
        if found is None or self._run is None or found.run_id != self._run.run_id:
            self._started_at = num_steps
        self._run = found

    def steps(self, num_steps: int) -> int:
        """Steps made for it so far."""
        return num_steps - self._started_at

    def at(self, state: RunState, detail: str = "", version: str | None = None) -> None:
        """Notes where the run is, once. Raises RegistryUnavailable."""
        run = self._run
        if run is None or (run.state, run.detail) == (state, detail):
            return
        try:
            run = self._registry.update_run(run.run_id, state, detail=detail, version=version)
        except RegistryUnavailable:
            raise
        except RegistryError as error:
            log.warning("run %s is over: %s", run.run_id, error)  # cancelled meanwhile
            self._run = None
            return
        self._run = run if state in ("collecting", "training", "judging") else None
