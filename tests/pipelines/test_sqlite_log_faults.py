"""What the SQLite traffic log does when its file is gone, broken, foreign or half trusted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipelines.errors import LogUnavailable
from pipelines.registry import open_registry
from pipelines.sqlite_log import SqliteReader, SqliteWriter
from pipelines.traffic_log import LogCounters
from tests.pipelines.contract_traffic_log import PATIENCE, fill, read_all
from tests.pipelines.records import SLOT, make_trace, make_traces


def start_writer(path: Path) -> SqliteWriter:
    return SqliteWriter(path, max_queue=100, max_bytes=1 << 30, max_age=1e9)


def alter(path: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(sql, values)
    connection.close()


def test_a_record_that_cannot_be_decoded_is_skipped_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    writer, reader = start_writer(path), SqliteReader(path)
    fill(writer, make_traces(3))
    alter(path, "UPDATE traces SET body = substr(body, 1, 40) WHERE trace_id = 'trace-1'")
    for _ in range(2):
        assert [logged.place.offset for logged in reader.read({}, 2)] == [1, 3]
        assert [trace.trace_id for trace in reader.export("default")] == ["trace-0", "trace-2"]
    assert reader.num_skipped() == 1
    writer.close()


def test_a_broken_file_never_fails_an_append_and_is_used_again_once_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    path.write_bytes(b"this is no database" * 1000)
    writer, reader = start_writer(path), SqliteReader(path)
    traces = make_traces(5)
    assert all(writer.append(trace) for trace in traces)
    with pytest.raises(LogUnavailable, match=r"traffic\.db: file is not a database"):
        reader.read({}, 10)
    path.unlink()
    assert writer.flush(PATIENCE)
    assert read_all(reader) == traces
    assert writer.counters() == LogCounters(appended=5, written=5, dropped=0, pending=0)
    writer.close()


def test_a_folder_that_cannot_be_made_never_fails_an_append(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = start_writer(tmp_path / "file" / "traffic.db")
    assert all(writer.append(trace) for trace in make_traces(5))
    writer.close(0.2)
    assert writer.counters() == LogCounters(appended=5, written=0, dropped=5, pending=0)
    assert "5 traces dropped" in caplog.text


def test_a_file_deleted_under_the_writer_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    writer, reader = start_writer(path), SqliteReader(path)
    fill(writer, [make_trace("lost with the file")])
    assert len(read_all(reader)) == 1
    for file in tmp_path.iterdir():
        file.unlink()
    fill(writer, [make_trace("in the new file")])
    assert [trace.trace_id for trace in read_all(reader)] == ["in the new file"]
    writer.close()


def test_a_log_without_its_shared_memory_is_recovered_by_the_reader(tmp_path: Path) -> None:
    path, copy = tmp_path / "traffic.db", tmp_path / "copy.db"
    writer = start_writer(path)
    fill(writer, make_traces(5))
    # what a machine that lost power leaves: the file and its write-ahead log
    for suffix in ("", "-wal"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    assert read_all(SqliteReader(copy)) == make_traces(5)
    writer.close()


def test_a_registry_is_not_taken_for_a_log_nor_a_log_for_a_registry(tmp_path: Path) -> None:
    log, registry = tmp_path / "traffic.db", tmp_path / "registry.db"
    writer = start_writer(log)
    fill(writer, [make_trace()])
    open_registry(f"sqlite:///{registry}").request_run(SLOT, "to make the file")
    with pytest.raises(LogUnavailable, match="another kind of file"):
        SqliteReader(registry).read({}, 10)
    with pytest.raises(Exception, match="another kind of file"):
        open_registry(f"sqlite:///{log}").slots()
    writer.close()


def test_what_is_not_a_database_of_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    alter(path, "CREATE TABLE precious (value)")
    before = path.read_bytes()
    writer = start_writer(path)
    assert writer.append(make_trace())
    writer.close(0.2)
    assert writer.counters().dropped == 1
    assert path.read_bytes() == before
