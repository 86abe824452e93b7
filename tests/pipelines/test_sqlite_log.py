"""The SQLite traffic log keeps the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipelines.contract_kill import KillContract
from tests.pipelines.contract_traffic_log import Outage, QueueContract


class TestSqliteTrafficLog(QueueContract, KillContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "new" / "folder" / "traffic.db"

    @pytest.fixture
    def url(self, path: Path) -> str:
        return f"sqlite:///{path}"

    @pytest.fixture
    def outage(self, path: Path) -> Outage:
        @contextmanager
        def locked() -> Iterator[None]:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.close()

        return locked
