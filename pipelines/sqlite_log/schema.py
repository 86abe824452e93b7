"""The traffic log's table. Writer and reader open the file through here."""

from __future__ import annotations

from pathlib import Path

from pipelines.sqlite import Database

_APPLICATION_ID = 0x45564C01  # "EVL", schema 1
_SCHEMA = """
CREATE TABLE traces (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    logged_at REAL NOT NULL,
    expires_at REAL,
    body BLOB NOT NULL
);
CREATE INDEX traces_by_tenant ON traces (tenant);
CREATE INDEX traces_by_age ON traces (logged_at);
CREATE INDEX traces_by_expiry ON traces (expires_at) WHERE expires_at IS NOT NULL
"""

Row = tuple[str, str, float, float | None, bytes]
"""trace_id, tenant, logged_at (Unix seconds), expires_at, encoded trace."""

# not ON CONFLICT DO NOTHING: a conflict would burn an offset, and `end` name one that never held anything
INSERT = """
INSERT INTO traces (trace_id, tenant, logged_at, expires_at, body)
SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM traces WHERE trace_id = ?1)
"""


def log_file(path: str | Path, *, create: bool, busy_seconds: float) -> Database:
    """The file of a traffic log; see Database for what opening it raises."""
    return Database(path, _SCHEMA, _APPLICATION_ID, create=create, busy_seconds=busy_seconds)
