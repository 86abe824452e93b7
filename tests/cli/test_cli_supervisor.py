"""The supervisor, with small children that note what happens to them."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.errors import Exit
from cli.supervisor import Child, Patience, Supervisor

ROOT = Path(__file__).parents[2]

_NOTES = """
import os, signal, sys, time
notes = open(sys.argv[1], "a", buffering=1)
def note(word): os.write(notes.fileno(), f"{word}\\n".encode())  # a print cannot be interrupted by a handler that prints
"""
OBEDIENT = """
signal.signal(signal.SIGINT, lambda *_: note("SIGINT"))
def leave(*_):
    note("SIGTERM")
    time.sleep(0.2)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
note(f"pid {os.getpid()}")
while True: time.sleep(0.01)
"""
STUBBORN = """
signal.signal(signal.SIGTERM, lambda *_: note("SIGTERM"))
note(f"pid {os.getpid()}")
while True: time.sleep(0.01)
"""
CRASHING_TWICE = """
note("run")
lives = len(open(sys.argv[1]).readlines())
print("life", lives)
sys.exit(0 if lives == 3 else 7)
"""


def child(name: str, code: str, notes: Path) -> Child:
    notes.touch()
    return Child(name, (sys.executable, "-c", _NOTES + code, str(notes)))


def supervise(*children: Child, patience: Patience = Patience(first_wait=0.01)) -> tuple[Exit, str]:
    """Runs until they are done; also everything that was shown."""
    out = io.StringIO()

    async def run() -> Exit:
        return await Supervisor(children, patience, out).run()

    return asyncio.run(run()), out.getvalue()


@contextmanager
def supervisor_process(*children: Child, grace: float = 30.0) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process and a process group of its own."""
    script = (
        "import asyncio, sys\n"
        "from cli.supervisor import Child, Patience, Supervisor\n"
        f"children = [Child(name, command) for name, command in {[(c.name, c.command) for c in children]!r}]\n"
        "async def run():\n"
        f"    return await Supervisor(children, Patience(first_wait=0.01, grace={grace})).run()\n"
        "sys.exit(asyncio.run(run()))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, process_group=0, text=True, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def noted(notes: Path) -> list[str]:
    return notes.read_text().splitlines()


def pid_of(notes: Path) -> int:
    """The pid a child wrote down, once it has."""
    wait_for(lambda: any(line.startswith("pid ") for line in noted(notes)))
    return int(next(line for line in noted(notes) if line.startswith("pid ")).removeprefix("pid "))


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_child_that_crashes_is_started_again_until_it_ends_well(tmp_path: Path) -> None:
    code, shown = supervise(child("worker", CRASHING_TWICE, tmp_path / "notes"))
    assert code == Exit.OK
    assert noted(tmp_path / "notes") == ["run"] * 3
    assert shown.count("worker ended with exit code 7; it starts again") == 2


def test_the_wait_doubles_with_each_crash_up_to_the_longest(tmp_path: Path) -> None:
    code = _NOTES + "note('run'); sys.exit(0 if len(open(sys.argv[1]).readlines()) == 5 else 1)"
    notes = tmp_path / "notes"
    patience = Patience(first_wait=0.01, longest_wait=0.04)
    _, shown = supervise(Child("worker", (sys.executable, "-c", code, str(notes))), patience=patience)
    waits = [line.split()[-2] for line in shown.splitlines() if "starts again" in line]
    assert waits == ["0.01", "0.02", "0.04", "0.04"]


def test_a_child_killed_by_a_signal_is_started_again_and_the_signal_named(tmp_path: Path) -> None:
    code = """
note("run")
if len(open(sys.argv[1]).readlines()) == 1: os.kill(os.getpid(), signal.SIGKILL)
"""
    ended, shown = supervise(child("worker", code, tmp_path / "notes"))
    assert ended == Exit.OK
    assert "worker was killed by SIGKILL; it starts again" in shown


def test_a_child_that_cannot_run_as_told_is_not_tried_again_and_stops_the_others(tmp_path: Path) -> None:
    code, shown = supervise(
        child("misled", "note('run'); sys.exit(2)", tmp_path / "misled"),
        child("well", OBEDIENT, tmp_path / "well"),
    )
    assert code == Exit.USAGE
    assert noted(tmp_path / "misled") == ["run"]
    assert "misled cannot run as it was told to" in shown
    assert noted(tmp_path / "well")[1:] in ([], ["SIGTERM"]), "it may not have got far"
    assert "once more" not in shown, "nobody else told it to stop"


def test_every_line_stands_whole_under_the_name_of_its_child(tmp_path: Path) -> None:
    code = "print('a' * 100_000); sys.stderr.write('last words')"
    _, shown = supervise(child("long", code, tmp_path / "1"), child("b", "print('x\\n' * 9)", tmp_path / "2"))
    lines = shown.splitlines()
    assert {line.partition(" |")[0] for line in lines} == {"long", "b   "}
    assert "".join(line[7:] for line in lines if line.startswith("long | a")) == "a" * 100_000
    assert "long | last words" in lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_all_children_cleanly_and_reaches_each_once(tmp_path: Path, number: signal.Signals) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with supervisor_process(child("first", OBEDIENT, first), child("second", OBEDIENT, second)) as process:
        pids = [pid_of(first), pid_of(second)]
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(30) == Exit.OK
        assert all(is_gone(pid) for pid in pids)
    for notes in (first, second):
        assert noted(notes)[1:] == ["SIGTERM"], "no SIGINT of the terminal's, and no second SIGTERM"


def test_a_child_that_does_not_stop_is_killed_and_the_exit_code_tells(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with supervisor_process(child("deaf", STUBBORN, notes), grace=0.1) as process:
        pid = pid_of(notes)
        process.terminate()
        shown, _ = process.communicate(timeout=30)
        assert process.returncode == Exit.FAILED
        assert is_gone(pid)
    assert "deaf did not stop: killed" in shown


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with supervisor_process(child("deaf", STUBBORN, notes), grace=1e6) as process:
        pid_of(notes)
        process.terminate()
        wait_for(lambda: "SIGTERM" in noted(notes))
        process.terminate()
        assert process.wait(30) == Exit.FAILED


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of no other system tells children")
def test_children_end_cleanly_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with supervisor_process(child("orphan", OBEDIENT, notes)) as process:
        pid = pid_of(notes)
        process.kill()
        process.wait(30)
        wait_for(lambda: is_gone(pid))
    assert noted(notes)[1:] == ["SIGTERM"]
