"""Lineage: which version descends from which, inside one slot."""

from __future__ import annotations

import sqlite3

_FAMILY = """
WITH RECURSIVE family (version) AS (
    VALUES (?2)
    UNION
    SELECT versions.version FROM versions JOIN family ON versions.parent = family.version WHERE slot = ?1
)
SELECT version FROM versions WHERE slot = ?1 AND version IN family ORDER BY id
"""


def family(connection: sqlite3.Connection, slot: int, version: str) -> list[str]:
    """The version and all its descendants, oldest first."""
    return [row[0] for row in connection.execute(_FAMILY, (slot, version))]


def is_known(connection: sqlite3.Connection, slot: int, version: str | None, *, quarantined: bool) -> bool:
    """Whether the slot holds the version in that state."""
    sql = "SELECT 1 FROM versions WHERE slot = ? AND version = ? AND quarantined = ?"
    return connection.execute(sql, (slot, version, quarantined)).fetchone() is not None


def sound_ancestor(connection: sqlite3.Connection, slot: int, version: str) -> str | None:
    """The nearest ancestor known in the slot that is not quarantined; None: there is none."""
    line = [version]
    while True:
        sql = "SELECT parent FROM versions WHERE slot = ? AND version = ?"
        row = connection.execute(sql, (slot, line[-1])).fetchone()
        if row is None or row[0] is None or row[0] in line:
            return None
        if is_known(connection, slot, row[0], quarantined=False):
            return str(row[0])
        line.append(row[0])
