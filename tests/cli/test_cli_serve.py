"""serve and train as processes: what they refuse at once, and how they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cli.errors import Exit
from pipelines.registry import open_registry

ROOT = Path(__file__).parents[2]


def everdraft(verb: str, data: Path, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "everdraft.py"), verb, "--data", str(data), *words]


def refused(verb: str, data: Path, *words: str) -> str:
    """What a verb says that ends at once with Exit.USAGE."""
    ended = subprocess.run(everdraft(verb, data, *words), capture_output=True, text=True, timeout=120)
    assert ended.returncode == Exit.USAGE, ended.stderr
    return ended.stderr.splitlines()[-1]


class Running:
    """A verb in a process group of its own, as in a terminal."""

    def __init__(self, folder: Path, verb: str, *words: str) -> None:
        self.data = folder / "data"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                everdraft(verb, self.data, *words),
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                process_group=0,
                stderr=log,
            )

    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, happened: Callable[[], bool]) -> None:
        while not happened():
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)

    def wait_until_it_works(self, verb: str) -> None:
        if verb == "serve":
            self.wait_for(lambda: "is served at http://127.0.0.1:" in self.said())
        else:
            with closing(open_registry(f"sqlite:///{self.data / 'registry.db'}")) as registry:
                self.wait_for(lambda: bool(registry.presences(time.time())))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts verbs, and kills what is left of them in the end."""
    started: list[Running] = []

    def start(verb: str, *words: str) -> Running:
        started.append(Running(tmp_path, verb, *words))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.mark.slow
def test_a_port_that_is_taken_is_wrong_usage(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("serve", tmp_path, "--port", str(port))
    assert said.startswith(f"everdraft serve: cannot listen on 127.0.0.1, port {port}: Address already in use")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--target", "/nowhere/at/all"), "target is '/nowhere/at/all'"),
        (("--max-model-len", "1000000"), "server.max_model_len is 1000000, expected at most"),
    ],
)
def test_a_target_that_cannot_be_served_as_asked_is_wrong_usage(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    assert told in refused("serve", tmp_path, "--port", "0", *words)


@pytest.mark.slow
def test_without_a_traffic_log_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    assert "there is nothing to learn from" in refused("train", tmp_path, "--traffic", "off")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["serve", "train"])
def test_ctrl_c_ends_it_well(run: Callable[..., Running], verb: str) -> None:
    running = run(verb, "--port", "0", "--engine-threads", "1")
    running.wait_until_it_works(verb)
    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does: the engine's process gets it too
    assert running.process.wait(60) == Exit.OK, running.said()
    assert "Traceback" not in running.said()


@pytest.mark.slow
def test_an_engine_that_dies_ends_the_server_so_that_it_can_be_started_again(run: Callable[..., Running]) -> None:
    running = run("serve", "--port", "0", "--engine-threads", "1")
    running.wait_until_it_works("serve")
    (engine,) = (pid for pid, command in children(running.process.pid) if "spawn_main" in command)
    os.kill(engine, signal.SIGKILL)
    assert running.process.wait(60) == Exit.FAILED
    assert "everdraft serve: the engine died" in running.said()


def children(pid: int) -> Iterator[tuple[int, str]]:
    """Of a process, with their command lines."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child), Path(f"/proc/{child}/cmdline").read_text()
