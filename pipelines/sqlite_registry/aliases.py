"""Aliases: where they point, who may move them, and the event that every change leaves."""

from __future__ import annotations

import sqlite3
import time

from pipelines.errors import StaleGeneration
from pipelines.registry import SlotState

_KEPT_EVENTS = 10_000


def slot_state(connection: sqlite3.Connection, slot: int, expected: int | None = None) -> SlotState:
    """The slot as it stands. Raises StaleGeneration if it has moved on from the `expected` generation."""
    generation, champion, previous = connection.execute(
        "SELECT generation, champion, previous FROM slots WHERE id = ?", (slot,)
    ).fetchone()
    if expected is not None and generation != expected:
        raise StaleGeneration(f"generation is {generation}, expected {expected}: the slot has moved")
    return SlotState(generation=generation, champion=champion, previous=previous)


def move(connection: sqlite3.Connection, slot: int, state: SlotState) -> None:
    """Points the aliases of the slot as `state` says."""
    connection.execute(
        "UPDATE slots SET generation = ?, champion = ?, previous = ? WHERE id = ?",
        (state.generation, state.champion, state.previous, slot),
    )


def note(connection: sqlite3.Connection, slot: int, generation: int, action: str, version: str, detail: str) -> None:
    """Adds an event and forgets very old ones."""
    cursor = connection.execute(
        "INSERT INTO events (at, slot, generation, action, version, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (time.time(), slot, generation, action, version, detail),
    )
    assert cursor.lastrowid is not None
    connection.execute("DELETE FROM events WHERE id <= ?", (cursor.lastrowid - _KEPT_EVENTS,))
