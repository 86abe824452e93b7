"""Aliases: where they point, who may move them, and the event that every change leaves."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import msgspec

from pipelines.errors import StaleGeneration
from pipelines.registry import SlotState, Stage

_KEPT_EVENTS = 10_000
_FIELDS = SlotState.__struct_fields__
COLUMNS = ", ".join(_FIELDS)
"""Of a slot, as `state_of` reads them."""


def state_of(row: tuple[Any, ...]) -> SlotState:
    return msgspec.convert(dict(zip(_FIELDS, row, strict=True)), SlotState, strict=False)


def slot_state(connection: sqlite3.Connection, slot: int, expected: int | None = None) -> SlotState:
    """The slot as it stands. Raises StaleGeneration if it has moved on from the `expected` generation."""
    state = state_of(connection.execute(f"SELECT {COLUMNS} FROM slots WHERE id = ?", (slot,)).fetchone())
    if expected is not None and state.generation != expected:
        raise StaleGeneration(f"generation is {state.generation}, expected {expected}: the slot has moved")
    return state


def move(connection: sqlite3.Connection, slot: int, state: SlotState) -> None:
    """Points the aliases of the slot as `state` says, and notes how far these versions got."""
    given = msgspec.structs.asdict(state)
    sets = ", ".join(f"{name} = ?" for name in given)
    connection.execute(f"UPDATE slots SET {sets} WHERE id = ?", (*given.values(), slot))
    reached(connection, slot, state.champion, "champion")
    reached(connection, slot, state.candidate, "canary" if state.share else "candidate")


def reached(connection: sqlite3.Connection, slot: int, version: str | None, stage: Stage) -> None:
    connection.execute("UPDATE versions SET stage = ? WHERE slot = ? AND version = ?", (stage, slot, version))


def note(connection: sqlite3.Connection, slot: int, generation: int, action: str, version: str | None, detail: str) -> None:
    """Adds an event and forgets very old ones."""
    cursor = connection.execute(
        "INSERT INTO events (at, slot, generation, action, version, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (time.time(), slot, generation, action, version, detail),
    )
    assert cursor.lastrowid is not None
    connection.execute("DELETE FROM events WHERE id <= ?", (cursor.lastrowid - _KEPT_EVENTS,))
