"""The SQLite registry keeps the contract, and says when its file is away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipelines.errors import RegistryUnavailable
from pipelines.registry import Presence, RunPlan, SlotState
from pipelines.sqlite_registry import SqliteRegistry
from tests.pipelines.contract_registry import (
    CandidatesContract,
    ConcurrencyContract,
    LeadContract,
    PresencesContract,
    RollbackContract,
    RunsContract,
    VersionsContract,
    WatchingContract,
    publish,
)
from tests.pipelines.records import SLOT, make_manifest


class TestSqliteRegistry(
    VersionsContract,
    RollbackContract,
    CandidatesContract,
    WatchingContract,
    LeadContract,
    RunsContract,
    PresencesContract,
    ConcurrencyContract,
):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/new/folder/registry.db"


def test_a_file_that_cannot_be_used_is_named_and_used_again_once_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"this is no database" * 1000)
    registry = SqliteRegistry(path)
    with pytest.raises(RegistryUnavailable, match=r"registry\.db: file is not a database"):
        registry.state(SLOT)
    with pytest.raises(RegistryUnavailable, match=r"registry\.db: file is not a database"):
        publish(registry, "a")
    path.unlink()
    assert publish(registry, "a").champion == "a"
    registry.close()


def test_a_change_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry = SqliteRegistry(path)
    publish(registry, "a")
    connection = sqlite3.connect(path)
    connection.execute("CREATE TRIGGER fault BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'disk fault'); END")
    connection.commit()
    with pytest.raises(RegistryUnavailable, match="disk fault"):
        publish(registry, "b", "a")
    assert registry.state(SLOT).champion == "a"
    assert registry.versions(SLOT) == [make_manifest("a")]
    connection.execute("DROP TRIGGER fault")
    connection.commit()
    connection.close()
    assert publish(registry, "b", "a").champion == "b"
    registry.close()


def test_names_of_processes_that_are_long_gone_do_not_pile_up(tmp_path: Path) -> None:
    registry = SqliteRegistry(tmp_path / "registry.db")
    for start in range(10):
        registry.announce(Presence(name=f"serving:{start}", at=start * 3600.0, ttl=5.0))
    assert len(registry.presences(-1.0)) == 2
    registry.close()


def test_events_of_long_ago_do_not_pile_up(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    registry = SqliteRegistry(path)
    publish(registry, "a")
    publish(registry, "b", "a")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE sqlite_sequence SET seq = 10001 WHERE name = 'events'")  # as if thousands followed
    connection.commit()
    connection.close()
    publish(registry, "c", "b")
    assert [event.id for event in registry.events()] == [10002]
    publish(registry, "d", "c")
    assert [event.version for event in registry.events()] == ["c", "d"]
    registry.close()


_THIRD_TO_SECOND = """
DROP TABLE acts; ALTER TABLE runs DROP COLUMN plan; ALTER TABLE versions DROP COLUMN stage;
ALTER TABLE slots DROP COLUMN candidate; ALTER TABLE slots DROP COLUMN share; ALTER TABLE slots DROP COLUMN share_of;
ALTER TABLE slots DROP COLUMN training; ALTER TABLE slots DROP COLUMN speculation;
UPDATE runs SET state = 'published'; PRAGMA application_id = 0x45565202;
"""
_SECOND_TO_FIRST = "DROP TABLE leads; PRAGMA application_id = 0x45565201;"


@pytest.mark.parametrize("older", [_THIRD_TO_SECOND, _THIRD_TO_SECOND + _SECOND_TO_FIRST])
def test_a_registry_of_an_older_schema_is_brought_up_to_date_and_keeps_what_it_holds(tmp_path: Path, older: str) -> None:
    path = tmp_path / "registry.db"
    registry = SqliteRegistry(path)
    publish(registry, "a")
    run = registry.request_run(SLOT, "somebody asked")
    registry.update_run(run.run_id, "champion")
    registry.close()
    connection = sqlite3.connect(path)
    connection.executescript(older)
    connection.close()
    for _ in range(2):
        again = SqliteRegistry(path)
        assert again.state(SLOT) == SlotState(generation=1, champion="a")
        assert again.lead(SLOT, "ours", 30.0) == 1
        assert (again.run(run.run_id).state, again.run(run.run_id).plan) == ("champion", RunPlan())
        assert again.acts() == []
        again.close()
