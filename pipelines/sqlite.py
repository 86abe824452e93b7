"""A SQLite file that several processes share: opened when first needed, reopened after a failure.

WAL, so that readers and a writer never wait for each other; every transaction is short. sqlite3's own errors
pass through: whoever uses a Database says what they mean in its own room.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_RETRY = 0.02
"""Seconds between two attempts to open a file that another process is just creating or closing."""

_AT_BIRTH = "auto_vacuum = INCREMENTAL"
"""Heeded only before the first table exists, hence first; later it is a write, for which a full disk has no room."""
_SETTINGS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # a commit survives a power cut, not only a killed process
    "secure_delete = ON",  # what is deleted is overwritten with zeros
    "journal_size_limit = 8388608",
)


class Database:
    """One file and one connection, usable from any thread.

    schema: the statements that create the tables. application_id: marks the file as holding that schema, so
    that no other SQLite file is ever mistaken for it. create: whether to create a missing file and its
    folders; without it every use of a missing file raises FileNotFoundError. busy_seconds: how long to wait
    for other processes' locks. upgrades: by older application id, the statements that make this schema of that one.
    """

    def __init__(
        self,
        path: str | Path,
        schema: str,
        application_id: int,
        *,
        create: bool = True,
        busy_seconds: float = 5.0,
        upgrades: Mapping[int, str] | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self._upgrades = upgrades or {}
        self._schema = schema
        self._application_id = application_id
        self._create = create
        self._busy_seconds = busy_seconds
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Holds the file's write lock; commits at the end, rolls back on any exception.

        Raises sqlite3.Error or OSError.
        """
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection in autocommit mode. After sqlite3.Error or OSError the next use reconnects."""
        with self._lock:
            try:
                yield self._connected()
            except (sqlite3.Error, OSError):
                self.close()
                raise

    def query(self, sql: str, *values: Any) -> list[Any]:
        """All rows of one statement, as one short read."""
        with self.connection() as connection:
            return connection.execute(sql, values).fetchall()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode != _inode(self.path):
            self.close()  # the file was deleted or replaced: what we write there nobody would find
        if self._connection is None:
            self._connection = self._open_patiently()
            self._inode = _inode(self.path)
        return self._connection

    def _open_patiently(self) -> sqlite3.Connection:
        # SQLite's own busy handler does not cover the switch to WAL nor the last connection's clean-up
        deadline = time.monotonic() + self._busy_seconds
        while True:
            try:
                return self._open()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY)

    def _open(self) -> sqlite3.Connection:
        if self._create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        elif not self.path.exists():
            raise FileNotFoundError(self.path)
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={'rwc' if self._create else 'rw'}",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        found = self._marked(connection)
        if not found and not self._create:
            raise FileNotFoundError(f"{self.path}: its writer is still creating it")
        for setting in _SETTINGS if found else (_AT_BIRTH, *_SETTINGS):
            connection.execute(f"PRAGMA {setting}")
        if not found:
            connection.execute("BEGIN IMMEDIATE")
            if not self._marked(connection):  # another process may have been faster
                self._become(connection, self._schema)
            connection.execute("COMMIT")
        while (upgrade := self._upgrades.get(_id_of(connection))) is not None:
            connection.execute("BEGIN IMMEDIATE")
            if self._upgrades.get(_id_of(connection)) == upgrade:
                self._become(connection, upgrade)
            connection.execute("COMMIT")

    def _become(self, connection: sqlite3.Connection, statements: str) -> None:
        for statement in statements.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {self._application_id}")

    def _marked(self, connection: sqlite3.Connection) -> bool:
        """Whether the file holds our schema; False: it is empty. Anything else is a sqlite3.DatabaseError."""
        # tables first: whoever is creating the file writes both at once, and must not be seen between the two
        has_tables = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
        found, expected = _id_of(connection), self._application_id
        if found not in (expected, *self._upgrades) and (found or has_tables):
            raise sqlite3.DatabaseError(f"another kind of file: its id is {found:#x}, expected {expected:#x}")
        return bool(found)


def _id_of(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    return int(found)


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0
