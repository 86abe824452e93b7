"""A shared SQLite file: created once by whoever comes first, changed whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from pipelines.sqlite import Database

SCHEMA = "CREATE TABLE things (name TEXT); CREATE INDEX by_name ON things (name)"


def make_database(path: Path, *, create: bool = True) -> Database:
    return Database(path, SCHEMA, 0x1234, create=create)


def test_many_who_open_a_new_file_at_once_all_succeed(tmp_path: Path) -> None:
    num_threads, num_files = 6, 10
    barrier = threading.Barrier(num_threads)
    failures: list[Exception] = []

    def open_all() -> None:
        for number in range(num_files):
            barrier.wait(30.0)
            database = make_database(tmp_path / f"{number}.db")
            try:
                with database.transaction() as connection:
                    connection.execute("INSERT INTO things VALUES ('one')")
            except (sqlite3.Error, OSError) as error:
                failures.append(error)
            database.close()

    threads = [threading.Thread(target=open_all) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for number in range(num_files):
        database = make_database(tmp_path / f"{number}.db")
        assert database.query("SELECT count(*) FROM things") == [(num_threads,)]
        database.close()


def test_an_exception_rolls_the_transaction_back(tmp_path: Path) -> None:
    database = make_database(tmp_path / "file.db")
    with pytest.raises(sqlite3.ProgrammingError), database.transaction() as connection:
        connection.executemany("INSERT INTO things VALUES (?)", [("half",), ("too", "many")])
    with database.transaction() as connection:
        connection.execute("INSERT INTO things VALUES ('whole')")
    assert database.query("SELECT name FROM things") == [("whole",)]
    database.close()


def test_a_file_that_is_not_to_be_created_is_missed(tmp_path: Path) -> None:
    database = make_database(tmp_path / "file.db", create=False)
    with pytest.raises(FileNotFoundError):
        database.query("SELECT name FROM things")
    (tmp_path / "file.db").touch()  # as its creator leaves it for a moment
    with pytest.raises(FileNotFoundError):
        database.query("SELECT name FROM things")
    creator = make_database(tmp_path / "file.db")
    assert creator.query("SELECT name FROM things") == []
    assert database.query("SELECT name FROM things") == []
    creator.close()
    database.close()


def test_a_closed_database_opens_again_when_used(tmp_path: Path) -> None:
    database = make_database(tmp_path / "file.db")
    with database.transaction() as connection:
        connection.execute("INSERT INTO things VALUES ('kept')")
    database.close()
    assert database.query("SELECT name FROM things") == [("kept",)]
    database.close()


def test_a_path_may_hold_what_a_url_may_not(tmp_path: Path) -> None:
    database = make_database(tmp_path / "50% of #1?" / "file.db")
    assert database.query("SELECT name FROM things") == []
    assert (tmp_path / "50% of #1?" / "file.db").exists()
    database.close()
