"""Runs: retraining that somebody asked for, from the queue of the registry to an end state.

A run goes on without waiting for traffic, whatever the trainer's patience says, and ends before the same gate
as everything else.
"""

from __future__ import annotations

import logging

from pipelines.errors import RegistryError, RegistryUnavailable
from pipelines.registry import OPEN_STATES, Registry, Run, RunPlan, RunState, Slot
from pipelines.traffic_log import covers
from trainer.kept import Kept

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

    @property
    def plan(self) -> RunPlan:
        """Of the open run, or how things are done without one."""
        return RunPlan() if self._run is None else self._run.plan

    def wants(self, trace: Kept) -> bool:
        """Whether the run that is open studies the trace."""
        plan = self.plan
        return trace.trace.finished_at >= plan.since and not covers(plan.from_position, trace.place)

    def claim(self, num_steps: int) -> bool:
        """Looks for an open run; one that was cancelled is dropped. True: another one than before. Raises RegistryUnavailable."""
        found = self._registry.claim_run(self._slot)
        is_new = found is not None and (self._run is None or found.run_id != self._run.run_id)
        if is_new or found is None:
            self._started_at = num_steps
        self._run = found
        return is_new

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
        self._run = run if run.state in OPEN_STATES else None
