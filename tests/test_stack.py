"""The whole embedded stack as a user runs it: `everdraft up`, killed and stopped in every way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running_stack import ROOT, Stack, alive, descendants, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    running = Stack(tmp_path)
    yield running
    running.stop()


def test_sigterm_drains_and_flushes_and_leaves_nobody_behind(stack: Stack) -> None:
    asked = [stack.ask(number) for number in range(5)]
    children = list(descendants(stack.process.pid))
    assert children
    stack.process.send_signal(signal.SIGTERM)  # at once: what was just answered is not on disk yet
    assert stack.process.wait(60) == 0, stack.said()
    traces = stack.traces()
    assert len(traces) == len(asked)
    assert {len(trace.output_ids) for trace in traces} == {6}
    wait_for("its processes to be gone", lambda: not any(map(alive, children)) or None, 10)


def test_a_killed_server_comes_back_and_has_lost_nothing_older_than_a_second(stack: Stack) -> None:
    for number in range(5):
        stack.ask(number)
    time.sleep(1.2)  # older than the last second
    os.kill(stack.child("serve"), signal.SIGKILL)
    stack.restarted()
    for number in range(5, 8):
        stack.ask(number)
    traces = wait_for("the new traces", lambda: found if len(found := stack.traces()) >= 8 else None)
    assert len(traces) == 8
    assert len({trace.trace_id for trace in traces}) == 8


def test_a_killed_trainer_goes_on_and_counts_every_trace_once(stack: Stack) -> None:
    def consumed() -> int:
        command = (sys.executable, "everdraft.py", "status", "--json", "--data", str(stack.data))
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found = re.search(r'"traces":\s*([\d.]+)', said)
        return int(float(found.group(1))) if found else 0

    for number in range(6):
        stack.ask(number)
    wait_for("the trainer to read", lambda: consumed() >= 6 or None)
    for number in range(6, 10):
        stack.ask(number)
    os.kill(stack.child("train"), signal.SIGKILL)
    wait_for("the rest to be read", lambda: consumed() >= 10 or None)
    time.sleep(1.0)
    assert consumed() == 10
