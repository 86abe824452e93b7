"""`everdraft retrain`: asks the trainer for a run now, and waits for what comes of it if wanted."""

from __future__ import annotations

import sys
import time

from cli.config import Configuration
from cli.errors import Exit, TimedOut
from cli.slots import chosen_or_first, opened
from pipelines.registry import OPEN_STATES, Registry, Run

POLL_SECONDS = 0.5

_CODES = {"published": Exit.OK, "rejected": Exit.REJECTED, "failed": Exit.FAILED, "cancelled": Exit.FAILED}


def retrain(config: Configuration, *, slot: str | None, reason: str, wait: bool, timeout: float | None) -> Exit:
    """Queues a run and prints its id; with `wait`, each state it goes through and how it ended.

    timeout: seconds; None: as long as it takes. Raises NotThere, UsageError, RegistryError, TimedOut.
    """
    with opened(config) as registry:
        before = {run.run_id for run in registry.runs()}
        run = registry.request_run(chosen_or_first(registry, config, slot), reason)
        print(f"{run.run_id} {'open already' if run.run_id in before else run.state}: {run.reason}", flush=True)
        if not any(each.name.startswith("trainer:") for each in registry.presences(time.time())):
            print("no trainer runs just now: the run waits for one", file=sys.stderr)
        if not wait:
            return Exit.OK
        return _CODES[_followed(registry, run, timeout).state]


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
