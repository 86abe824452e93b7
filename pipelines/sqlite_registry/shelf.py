"""The registry's tables, and Shelf: the part of a registry that looks after some of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import RegistryUnavailable
from pipelines.registry import OPEN_STATES, Slot
from pipelines.sqlite import Database

_APPLICATION_ID = 0x45565203  # "EVR", schema 3
_LEADS = """
CREATE TABLE leads (
    slot INTEGER PRIMARY KEY REFERENCES slots,
    fence INTEGER NOT NULL,
    name TEXT NOT NULL,
    ends_at REAL NOT NULL
)"""
_ACTS = """
CREATE TABLE acts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    body BLOB NOT NULL
)"""
_SECOND_TO_THIRD = f"""
ALTER TABLE slots ADD COLUMN candidate TEXT;
ALTER TABLE slots ADD COLUMN share REAL NOT NULL DEFAULT 0;
ALTER TABLE slots ADD COLUMN share_of TEXT NOT NULL DEFAULT 'requests';
ALTER TABLE slots ADD COLUMN training INTEGER NOT NULL DEFAULT 1;
ALTER TABLE slots ADD COLUMN speculation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE versions ADD COLUMN stage TEXT;
ALTER TABLE runs ADD COLUMN plan BLOB NOT NULL DEFAULT '{{}}';
UPDATE runs SET state = 'champion' WHERE state = 'published';
{_ACTS}"""
_UPGRADES = {0x45565201: f"{_LEADS};{_SECOND_TO_THIRD}", 0x45565202: _SECOND_TO_THIRD}
_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN_STATES))
_SCHEMA = f"""
CREATE TABLE slots (
    id INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    scope TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    champion TEXT,
    candidate TEXT,
    previous TEXT,
    share REAL NOT NULL DEFAULT 0,
    share_of TEXT NOT NULL DEFAULT 'requests',
    training INTEGER NOT NULL DEFAULT 1,
    speculation INTEGER NOT NULL DEFAULT 1,
    UNIQUE (target, kind, scope)
);
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL REFERENCES slots,
    version TEXT NOT NULL,
    parent TEXT,
    quarantined INTEGER NOT NULL,
    stage TEXT,
    location TEXT NOT NULL,
    manifest BLOB NOT NULL,
    UNIQUE (slot, version)
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    slot INTEGER NOT NULL REFERENCES slots,
    generation INTEGER NOT NULL,
    action TEXT NOT NULL,
    version TEXT,
    detail TEXT NOT NULL
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    slot INTEGER NOT NULL REFERENCES slots,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    version TEXT,
    plan BLOB NOT NULL DEFAULT '{{}}'
);
CREATE UNIQUE INDEX one_open_run ON runs (slot) WHERE state IN ({_OPEN});
CREATE TABLE run_keys (
    slot INTEGER NOT NULL REFERENCES slots,
    idempotency_key TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    PRIMARY KEY (slot, idempotency_key)
);
CREATE TABLE presences (
    name TEXT PRIMARY KEY,
    lapses_at REAL NOT NULL,
    body BLOB NOT NULL
);
{_LEADS};
{_ACTS}
"""


def registry_file(path: str | Path) -> Database:
    """The file of a registry; see Database for what opening it raises."""
    return Database(path, _SCHEMA, _APPLICATION_ID, upgrades=_UPGRADES)


class Shelf:
    """Says of every failure of the file that the registry is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction that sees, and lets others see, all of a change or nothing."""
        try:
            with self._database.transaction() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        try:
            return self._database.query(sql, *values)
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        return RegistryUnavailable(f"registry {self._database.path}: {error}")


def slot_id(connection: sqlite3.Connection, slot: Slot) -> int:
    """The row of a slot, created when it is used first. Inside a transaction."""
    key = (slot.target, slot.kind, slot.scope)
    connection.execute("INSERT INTO slots (target, kind, scope) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", key)
    sql = "SELECT id FROM slots WHERE target = ? AND kind = ? AND scope = ?"
    return int(connection.execute(sql, key).fetchone()[0])
