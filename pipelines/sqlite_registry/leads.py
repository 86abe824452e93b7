"""Leads: which trainer leads a slot, and the fence that keeps its predecessors out."""

from __future__ import annotations

import sqlite3
import time

from pipelines.errors import Superseded
from pipelines.registry import Slot
from pipelines.sqlite_registry.shelf import Shelf, slot_id

_LONGEST = 3600.0
"""Seconds: a lead that ends later was taken by a clock that was wrong."""


class Leads(Shelf):
    """See `pipelines.registry.Registry`. All who share a file share its machine's clock."""

    def lead(self, slot: Slot, name: str, ttl: float) -> int | None:
        now = time.time()
        with self._change() as connection:
            row = slot_id(connection, slot)
            found = connection.execute("SELECT fence, name, ends_at FROM leads WHERE slot = ?", (row,)).fetchone()
            fence, leader, ends_at = found or (0, "", 0.0)
            if now < ends_at <= now + _LONGEST and leader != name:
                return None
            if leader != name or now >= ends_at:
                fence += 1
            new = (row, fence, name, now + ttl)
            connection.execute("REPLACE INTO leads (slot, fence, name, ends_at) VALUES (?, ?, ?, ?)", new)
            return int(fence)

    def resign(self, slot: Slot, name: str) -> None:
        with self._change() as connection:
            row = slot_id(connection, slot)
            connection.execute("UPDATE leads SET ends_at = 0 WHERE slot = ? AND name = ?", (row, name))


def check_fence(connection: sqlite3.Connection, slot_row: int, fence: int | None) -> None:
    """Raises Superseded for a fence that is not the newest."""
    row = connection.execute("SELECT fence, name FROM leads WHERE slot = ?", (slot_row,)).fetchone()
    if fence is not None and row is not None and row[0] != fence:
        raise Superseded(f"the fence is {row[0]} ({row[1]} leads), expected {fence}: another trainer has taken the lead")
