"""What the SQLite traffic log forgets: by bytes, by age, by expiry and by purge."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from pipelines.errors import LogUnavailable
from pipelines.sqlite_log import SqliteReader, SqliteWriter
from pipelines.trace import Trace
from tests.pipelines.contract_traffic_log import PATIENCE, fill, read_all
from tests.pipelines.records import make_trace, make_traces

MARK = "a name that must not be found again"


def write(path: Path, traces: list[Trace], *, max_bytes: int = 1 << 30, max_age: float = 1e9) -> None:
    """Commits a hundred traces at a time; closing waits for the retention that follows."""
    writer = SqliteWriter(path, max_queue=4096, max_bytes=max_bytes, max_age=max_age)
    for start in range(0, len(traces), 100):
        fill(writer, traces[start : start + 100])
    writer.close(PATIENCE)


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


def test_the_file_stays_within_its_bound_and_the_oldest_go_first(tmp_path: Path) -> None:
    path, max_bytes = tmp_path / "traffic.db", 400_000
    traces = make_traces(2000, output_ids=tuple(range(300)))
    write(path, traces, max_bytes=max_bytes)
    assert path.stat().st_size <= max_bytes
    kept = read_all(SqliteReader(path))
    assert kept == traces[-len(kept) :]
    assert sum(2 * len(trace.output_ids) for trace in kept) > max_bytes / 3, "it forgot more than it had to"
    assert SqliteReader(path).end() == {0: 2000}


def test_a_lower_bound_shrinks_the_file_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    write(path, make_traces(2000, output_ids=tuple(range(300))))
    assert path.stat().st_size > 1_000_000
    write(path, [make_trace("last")], max_bytes=400_000)
    assert path.stat().st_size <= 400_000
    assert read_all(SqliteReader(path))[-1] == make_trace("last")


def test_traces_past_their_age_go(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    write(path, make_traces(1200, "old", tenant=MARK))
    time.sleep(0.1)
    write(path, [make_trace("new")], max_age=0.1)
    assert not [trace for trace in read_all(SqliteReader(path)) if trace.tenant == MARK]
    assert SqliteReader(path).num_skipped() == 0


def test_expired_traces_go(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    write(path, make_traces(1200, expires_at=time.time() - 1))
    write(path, [make_trace("lasting")])
    assert SqliteReader(path).export("default") == [make_trace("lasting")]


@pytest.mark.parametrize("seed", range(12))
def test_a_purge_leaves_no_byte_of_the_tenant(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "traffic.db"
    shuffled = random.Random(seed)
    traces = [
        make_trace(
            f"{shuffled.getrandbits(60)} {tenant}",
            tenant=tenant,
            conversation=tenant * shuffled.randrange(1, 5),
        )
        for tenant in shuffled.choices([MARK, "them", "others"], k=1000)
    ]
    writer = SqliteWriter(path, max_queue=4096, max_bytes=1 << 30, max_age=1e9)
    for start in range(0, len(traces), 100):
        fill(writer, traces[start : start + 100])
    assert MARK.encode() in bytes_on_disk(path)
    reader = SqliteReader(path)
    reader.purge(MARK)
    # the writer is still there, so no closing connection has tidied up
    assert MARK.encode() not in bytes_on_disk(path)
    assert read_all(reader) == [trace for trace in traces if trace.tenant != MARK]
    writer.close(PATIENCE)


def test_a_purge_that_cannot_remove_every_copy_says_so(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    writer = SqliteWriter(path, max_queue=4096, max_bytes=1 << 30, max_age=1e9)
    fill(writer, make_traces(3, tenant=MARK))
    reader = SqliteReader(path, patience=0.1)
    lingering = sqlite3.connect(path, isolation_level=None)
    lingering.execute("BEGIN")
    lingering.execute("SELECT count(*) FROM traces").fetchall()
    with pytest.raises(LogUnavailable, match=r"3 traces of .* are deleted, copies .* may be left: purge again"):
        reader.purge(MARK)
    lingering.close()
    assert MARK.encode() in bytes_on_disk(path)
    assert reader.purge(MARK) == 0
    assert MARK.encode() not in bytes_on_disk(path)
    writer.close(PATIENCE)
