"""SIGKILL at random moments, to a real process on real files."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.trainer.scripted import SLOT, TOKENIZER, House, trace
from trainer.state import Record, StateFile

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow


@contextmanager
def process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Started, and ready; killed at the end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = (sys.executable, "-m", "tests.trainer.killed_process", str(folder))
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
            yield running
        finally:
            running.send_signal(signal.SIGKILL)


def saved(house: House) -> Record | None:
    found = StateFile(Path(house.settings.state), SLOT, TOKENIZER).load()
    return found.record if found else None


def test_a_trainer_killed_at_any_moment_counts_every_trace_once(house: House, tmp_path: Path) -> None:
    house.add_static()
    chance = random.Random(3)
    written = 0
    for _ in range(4):
        with process(tmp_path):
            for _ in range(6):
                house.write([trace(written + number) for number in range(10)])
                written += 10
            time.sleep(chance.uniform(0.0, 0.6))
    with process(tmp_path):
        deadline = time.monotonic() + 60
        while (record := saved(house)) is None or record.feed.num_read < written:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
    record = saved(house)
    assert record is not None
    assert record.feed.num_read == record.feed.position[0] == written == 240
    assert record.feed.num_studied + record.feed.num_held_out == written
    assert record.progress.rows_received == 20 * record.feed.num_studied
    assert record.progress.span.num_traces == record.feed.num_studied
