"""Servers that are killed, again and again, while they ship their traces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.traffic_log import open_reader, open_writer
from tests.faults.load import in_order
from tests.faults.proxy import ProxiedBroker
from tests.faults.test_broker_away import in_topic
from tests.pipelines.contract_kill import GRACE
from tests.pipelines.contract_traffic_log import PATIENCE

ROOT = Path(__file__).parents[2]
NUM_KILLS = 30


@pytest.mark.slow
def test_of_thirty_killed_servers_nothing_older_than_a_second_is_lost_and_nothing_is_read_twice(
    proxied: ProxiedBroker, new_log: Callable[[int], str], tmp_path: Path
) -> None:
    url, spool, file = new_log(4), tmp_path / "spool", tmp_path / "lines"
    proxied.proxy.delay = 0.1  # many a server dies between the broker's taking and its own knowing
    program = [sys.executable, "-m", "tests.faults.killing_process", url, str(spool), str(NUM_KILLS), str(file)]
    subprocess.run(program, cwd=ROOT, check=True, timeout=300)
    proxied.proxy.delay = 0.0
    last = open_writer(url, spool=spool)
    assert last.flush(PATIENCE)
    last.close(PATIENCE)
    reader = open_reader(url)
    found = [logged.trace for logged in reader.read({}, 1_000_000)]
    reader.close()
    ids = {trace.trace_id for trace in found}
    times = {name: float(at) for name, at in (line.split() for line in file.read_text().splitlines())}
    ends = {name: at for name, at in times.items() if "-" not in name}
    assert len(ends) == NUM_KILLS
    old = {name for name, at in times.items() if name not in ends and at < ends[name.partition("-")[0]] - GRACE}
    assert old <= ids
    assert len(old) > 200, "hardly anything was old enough: the test proves little"
    assert len(ids) == len(found)
    assert in_order(found)
    assert max(in_topic(url, 4).values()) > 1, "nothing was sent twice: the test proves little"
