"""The whole embedded stack as a user runs it: `everdraft up`, killed and stopped in every way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import openai
import pytest

from pipelines.trace import Trace
from pipelines.traffic_log import open_reader

ROOT = Path(__file__).parent.parent
PATIENCE = 90.0
Found = TypeVar("Found")

pytestmark = pytest.mark.slow


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


class Stack:
    """`everdraft up` on a free port, its output in a file."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._log = folder / "up.log"
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                (sys.executable, "everdraft.py", "up", "--port", "0", "--data", str(self.data), "--engine-threads", "1"),
                cwd=ROOT,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.client = self._client(0)

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def restarted(self) -> None:
        """Waits until the server listens again, on whatever port."""
        seen = len(self._urls())
        self.client = self._client(seen)

    def ask(self, number: int, **changes: object) -> str:
        """One short answer; returns its id, which is that of its trace too."""
        values: dict[str, object] = {
            "model": "everdraft-demo",
            "prompt": f"Table tbl(a{number}, b)\nWrite a SQL query: What is b?",
            "max_tokens": 6,
            "temperature": 0.0,
            "extra_body": {"ignore_eos": True},
        }
        answer = self.client.completions.create(**{**values, **changes})  # type: ignore[call-overload]
        return str(answer.id)

    def child(self, verb: str) -> int:
        """The process that runs a verb."""

        def look() -> int | None:
            for pid in descendants(self.process.pid):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if verb.encode() in words:
                    return pid
            return None

        return wait_for(f"the {verb} process", look)

    def traces(self) -> list[Trace]:
        with closing(open_reader(f"sqlite:///{self.data / 'traffic.db'}")) as reader:
            return [logged.trace for logged in reader.read(0, 1000)]

    def _urls(self) -> list[str]:
        return re.findall(r"served at (http://[\d.:]+/v1)", self.said())

    def _client(self, seen: int) -> openai.OpenAI:
        def look() -> str | None:
            assert self.process.poll() is None, self.said()
            urls = self._urls()
            return urls[-1] if len(urls) > seen else None

        return openai.OpenAI(base_url=wait_for("the server to listen", look), api_key="none", max_retries=0)


def descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from descendants(child)


def alive(pid: int) -> bool:
    """Whether the process is there; one that only waits to be reaped is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    running = Stack(tmp_path)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(60)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
        running.client.close()


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
