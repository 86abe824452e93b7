"""The stack as a user runs it: `everdraft up` in processes of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import openai

from pipelines.trace import Trace
from pipelines.traffic_log import open_reader

ROOT = Path(__file__).parent.parent
PATIENCE = 90.0
Found = TypeVar("Found")


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


class Stack:
    """`everdraft up` on a free port, its output in a file. flags: further ones."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.data = folder / "data"
        self._log = folder / "up.log"
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                (sys.executable, "everdraft.py", "up", "--port", "0", "--data", str(self.data), "--engine-threads", "1", *flags),
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
        """One short answer; returns its id, which that of its trace begins with."""
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
        """Of the log in the data folder."""
        with closing(open_reader(f"sqlite:///{self.data / 'traffic.db'}")) as reader:
            return [logged.trace for logged in reader.read({}, 1000)]

    def stop(self) -> None:
        """Ends it, whatever became of it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.client.close()

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
