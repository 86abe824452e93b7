"""`everdraft retrain`: asks the trainer for a run now, and waits for what comes of it if wanted."""

from __future__ import annotations

import sys
import time

from cli.config import Configuration
from cli.errors import Exit, TimedOut
from cli.operate import by_hand
from cli.slots import Wanted, chosen_or_first, opened
from pipelines.errors import RunOpen
from pipelines.registry import OPEN_STATES, Presence, Registry, Run, RunPlan, Slot

POLL_SECONDS = 0.5

_CODES = {"rejected": Exit.REJECTED, "failed": Exit.FAILED, "cancelled": Exit.FAILED, "rolled_back": Exit.FAILED}
"""Of runs that did not bring forth a version that passed the gate."""


def retrain(
    config: Configuration,
    *,
    slot: Wanted,
    reason: str,
    plan: RunPlan,
    key: str | None,
    wait: bool,
    timeout: float | None,
) -> Exit:
    """Queues a run and prints its id; with `wait`, each state it goes through and how it ended.

    key: the same key gets the same run. timeout: seconds; None: as long as it takes. Raises NotThere, UsageError,
    RegistryError, TimedOut.
    """
    with opened(config) as registry:
        which = chosen_or_first(registry, config, slot)
        try:
            run = by_hand(registry).retrain(which, reason, plan=plan, idempotency_key=key)
            print(f"{run.run_id} {run.state}: {run.reason}", flush=True)
        except RunOpen as error:
            run = registry.run(error.run_id)
            print(f"{run.run_id} open already: {run.reason}", flush=True)
        if not any(_trains(each, which) for each in registry.presences(time.time())):
            print(f"no trainer of {which.kind} runs just now: the run waits for one", file=sys.stderr)
        if not wait:
            return Exit.OK
        return _CODES.get(_followed(registry, run, timeout).state, Exit.OK)


def _trains(process: Presence, slot: Slot) -> bool:
    """Whether a process is a trainer of the slot's kind: it says so in its name (`cli.train`)."""
    role, *parts = process.name.split(":")
    return role == "trainer" and slot.kind in parts


def _followed(registry: Registry, run: Run, timeout: float | None) -> Run:
    """The run once it is over; prints each of its states."""
    deadline = None if timeout is None else time.monotonic() + timeout
    shown = run
    while run.state in OPEN_STATES:
        if deadline is not None and time.monotonic() >= deadline:
            raise TimedOut(f"{run.run_id} is still {run.state} after {timeout:g} s; it goes on")
        time.sleep(POLL_SECONDS)
        run = registry.run(run.run_id)
        if (run.state, run.detail) != (shown.state, shown.detail):
            print(" ".join(filter(None, (run.run_id, run.state, run.version, run.detail))), flush=True)
            shown = run
    return run
