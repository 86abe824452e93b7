"""A disk that is full: under a spool that wants to grow, and under everything."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE

import msgspec
import pytest

from pipelines import sqlite
from pipelines.kafka_log import KafkaReader, KafkaWriter
from pipelines.sqlite_log import SqliteReader
from pipelines.traffic_log import open_reader
from tests.faults.filling_process import MAX_QUEUE
from tests.faults.load import Load
from tests.faults.mock_cluster import NOT_ENOUGH_REPLICAS, PRODUCE, MockCluster
from tests.faults.proxy import ProxiedBroker
from tests.pipelines.contract_traffic_log import PATIENCE, balanced
from tests.pipelines.records import make_traces
from tests.pipelines.test_sqlite_log_faults import start_writer

ROOT = Path(__file__).parents[2]
BLOCKED = 1.0
"""Seconds: whoever appends for longer has waited for the disk."""
SETTINGS = sqlite._SETTINGS
PAGES = 100
DISK_BYTES = 16 << 20


def test_a_log_without_room_is_opened_and_read(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    writer = start_writer(path)
    traces = make_traces(20)
    for trace in traces:
        writer.append(trace)
    writer.close(PATIENCE)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    reader = SqliteReader(path)
    assert [logged.trace for logged in reader.read({}, 100)] == traces
    assert {file: file.read_bytes() for file in before} == before, "whoever opens a log to read it writes nothing"
    assert (tmp_path / "traffic.db-wal").stat().st_size == 0
    reader.close()


@pytest.mark.slow
def test_a_spool_that_cannot_grow_drops_what_comes_and_counts_it_and_goes_on_when_it_can(
    mock: MockCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite, "_SETTINGS", (*SETTINGS, f"max_page_count = {PAGES}"))
    mock.fail(PRODUCE, NOT_ENOUGH_REPLICAS, 100_000)
    address = mock.address("traffic")
    writer = KafkaWriter(address, tmp_path, max_queue=MAX_QUEUE, max_bytes=1 << 30, max_age=1e9)
    with Load(writer, 400.0, output_ids=tuple(range(1000))) as load:
        time.sleep(4.0)
    counters = writer.counters()
    assert load.longest < BLOCKED
    assert balanced(counters)
    assert counters.spooled == counters.written > 0
    assert counters.dropped == load.refused > 0
    assert counters.pending == MAX_QUEUE
    (said,) = (record.getMessage() for record in caplog.records if "spool-0.db" in record.getMessage())
    assert "database or disk is full" in said
    monkeypatch.setattr(sqlite, "_SETTINGS", SETTINGS)
    mock.relent(PRODUCE)
    assert writer.flush(PATIENCE)
    counters = writer.counters()
    assert (counters.dropped, counters.pending, counters.spooled) == (load.refused, 0, 0)
    reader = KafkaReader(address)
    assert sorted(logged.trace.trace_id for logged in reader.read({}, 10_000)) == sorted(load.taken)
    reader.close()
    writer.close(PATIENCE)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[list[str]]:
    """The beginning of a command that runs with a small file system of its own at `tmp_path`."""
    inside = f'mount -t tmpfs -o size={DISK_BYTES} none "$0" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, str(tmp_path)]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system may be mounted here")
    return command


@pytest.mark.slow
def test_on_a_full_disk_nobody_waits_losses_are_counted_and_the_spool_still_empties(
    disk: list[str], proxied: ProxiedBroker, new_log: Callable[[int], str], tmp_path: Path
) -> None:
    url = new_log(4)
    proxied.proxy.cut()
    program = [sys.executable, "-m", "tests.faults.filling_process", url, str(tmp_path)]
    with subprocess.Popen([*disk, *program], cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "full\n"
        proxied.proxy.mend()
        out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    found = msgspec.json.decode(out)
    before, full, after = found["refused"]
    assert (before, after) == (0, 0)
    assert full > 0, "it was not full: the test proves little"
    assert found["longest"] < BLOCKED
    assert found["counters_full"]["spooled"] == 0
    assert found["counters_full"]["dropped"] == full
    assert found["flushed"]
    counters = found["counters"]
    assert (counters["written"], counters["pending"], counters["spooled"]) == (len(found["taken"]), 0, 0)
    lines = [line.split() for line in said.splitlines() if "database or disk is full" in line]
    times = [float(words[0]) for words in lines if words[3].endswith("spool-0.db:")]
    assert times
    assert all(later - earlier > 9.5 for earlier, later in pairwise(times))
    reader = open_reader(url)
    assert sorted(logged.trace.trace_id for logged in reader.read({}, 10_000)) == sorted(found["taken"])
    reader.close()
