"""Runs: the retrainings that somebody asked for."""

from __future__ import annotations

import sqlite3
import time
import uuid
from typing import Any

import msgspec

from pipelines.errors import RegistryError, RunOpen, UnknownRun
from pipelines.registry import OPEN_STATES, Run, RunPlan, RunState, Slot
from pipelines.sqlite_registry.shelf import Shelf, slot_id

_SELECT = """
SELECT run_id, target, kind, scope, reason, coalesce(stage, state), created_at, updated_at, detail, runs.version, plan
FROM runs JOIN slots ON slots.id = runs.slot
LEFT JOIN versions ON versions.slot = runs.slot AND versions.version = runs.version
"""
_STILL_OPEN = f"state IN ({', '.join('?' * len(OPEN_STATES))})"


class Runs(Shelf):
    """See `pipelines.registry.Registry`."""

    def request_run(self, slot: Slot, reason: str, *, plan: RunPlan = RunPlan(), idempotency_key: str | None = None) -> Run:
        with self._change() as connection:
            slot_row = slot_id(connection, slot)
            run_id = _asked_before(connection, slot_row, idempotency_key)
            if run_id is not None:
                return _find(connection, run_id)
            if (found := _open_run(connection, slot_row)) is not None:
                raise RunOpen(found)
            run_id, now = f"run-{uuid.uuid4().hex[:12]}", time.time()
            connection.execute(
                "INSERT INTO runs (run_id, slot, reason, state, created_at, updated_at, plan)"
                " VALUES (?, ?, ?, 'queued', ?, ?, ?)",
                (run_id, slot_row, reason, now, now, msgspec.json.encode(plan)),
            )
            if idempotency_key is not None:
                connection.execute(
                    "INSERT INTO run_keys (slot, idempotency_key, run_id) VALUES (?, ?, ?)",
                    (slot_row, idempotency_key, run_id),
                )
            return _find(connection, run_id)

    def claim_run(self, slot: Slot) -> Run | None:
        rows = self._rows(
            f"{_SELECT} WHERE target = ? AND kind = ? AND scope = ? AND {_STILL_OPEN}",
            *(slot.target, slot.kind, slot.scope, *OPEN_STATES),
        )
        return _run(rows[0]) if rows else None

    def update_run(self, run_id: str, state: RunState, *, detail: str = "", version: str | None = None) -> Run:
        with self._change() as connection:
            before = _find(connection, run_id)
            if before.state not in OPEN_STATES and state != before.state:
                raise RegistryError(f"run {run_id} is {before.state}, expected an open one: not made {state}")
            connection.execute(
                "UPDATE runs SET state = ?, detail = ?, version = coalesce(?, version), updated_at = ? WHERE run_id = ?",
                (state, detail, version, time.time(), run_id),
            )
            return _find(connection, run_id)

    def run(self, run_id: str) -> Run:
        return _found(self._rows(f"{_SELECT} WHERE run_id = ?", run_id), run_id)

    def runs(self, limit: int = 20) -> list[Run]:
        return [_run(row) for row in self._rows(f"{_SELECT} ORDER BY runs.id DESC LIMIT ?", max(0, limit))]


def _asked_before(connection: sqlite3.Connection, slot_row: int, key: str | None) -> str | None:
    sql = "SELECT run_id FROM run_keys WHERE slot = ? AND idempotency_key = ?"
    return _first(connection, sql, slot_row, key)


def _open_run(connection: sqlite3.Connection, slot_row: int) -> str | None:
    sql = f"SELECT run_id FROM runs WHERE slot = ? AND {_STILL_OPEN}"
    return _first(connection, sql, slot_row, *OPEN_STATES)


def _first(connection: sqlite3.Connection, sql: str, *values: Any) -> str | None:
    row = connection.execute(sql, values).fetchone()
    return None if row is None else str(row[0])


def _find(connection: sqlite3.Connection, run_id: str) -> Run:
    return _found(connection.execute(f"{_SELECT} WHERE run_id = ?", (run_id,)).fetchall(), run_id)


def _found(rows: list[tuple[Any, ...]], run_id: str) -> Run:
    if not rows:
        raise UnknownRun(f"run_id is {run_id!r}, expected one that was requested here")
    return _run(rows[0])


def _run(row: tuple[Any, ...]) -> Run:
    run_id, target, kind, scope, reason, state, created_at, updated_at, detail, version, plan = row
    return Run(
        run_id=run_id,
        slot=Slot(target=target, kind=kind, scope=scope),
        reason=reason,
        state=state,
        created_at=created_at,
        updated_at=updated_at,
        detail=detail,
        version=version,
        plan=msgspec.json.decode(plan, type=RunPlan),
    )
