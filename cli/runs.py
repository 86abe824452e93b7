"""`everdraft runs`: the retrainings that were asked for, and what became of them."""

from __future__ import annotations

import time

from cli.config import Configuration
from cli.operate import by_hand
from cli.show import ago, as_json, table
from cli.slots import opened, slot_name
from pipelines.registry import Run


def runs(config: Configuration, run_id: str | None, *, cancel: bool, reason: str, limit: int, as_data: bool) -> None:
    """Prints the newest runs, or one; with `cancel` that one is ended first. Raises NotThere, RegistryError."""
    with opened(config) as registry:
        if run_id is None:
            found = registry.runs(limit)
        else:
            found = [by_hand(registry).cancel(run_id, reason) if cancel else registry.run(run_id)]
    print(as_json(found) if as_data else _table(found))


def _table(found: list[Run]) -> str:
    if not found:
        return "no retraining was asked for"
    now = time.time()
    head = ("run", "state", "slot", "asked for", "version", "reason", "detail")
    return table(head, [_row(run, now) for run in found])


def _row(run: Run, now: float) -> tuple[str, ...]:
    return (run.run_id, run.state, slot_name(run.slot), ago(run.created_at, now), run.version or "-", run.reason, run.detail)
