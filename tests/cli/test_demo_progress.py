"""What is shown and recorded while traffic runs."""

from __future__ import annotations

import io
import os
from dataclasses import replace

import pytest

from cli.demo.figures import WINDOW
from cli.demo.progress import LINE_EVERY, Progress, Snapshot
from cli.demo.recorder import Recorder
from cli.demo.stack import Acceptance, Status
from cli.demo.traffic import Exchange

SNAPSHOT = Snapshot(
    phase="stories + dialogue",
    seconds=75.0,
    num_requests=412,
    num_failed=0,
    tokens_per_second=233.4,
    static=1.42,
    adaptive=1.87,
    served=2.31,
    version="3f2a9c1d77aa99",
    num_swaps=1,
    training_step=184,
    training_state="judging",
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(written: str) -> list[str]:
    """What a terminal shows after `written`: understands only going up and erasing below."""
    lines = [""]
    row = 0
    for part in written.replace("\x1b[J", "\x00J").replace("\x1b[", "\x00U").split("\x00"):
        rest = part
        if part.startswith("J"):
            lines, rest = [*lines[:row], ""], part[1:]
        elif part.startswith("U"):
            count, rest = part[1:].split("F", 1)
            row -= int(count)
        for place, text in enumerate(rest.split("\n")):
            if place:
                row += 1
            while row >= len(lines):
                lines.append("")
            lines[row] += text
    return lines


def test_a_terminal_shows_one_block_that_is_written_over() -> None:
    stream = Terminal()
    progress = Progress(stream)
    progress.update(SNAPSHOT)
    progress.note("something happened")
    progress.update(SNAPSHOT)
    progress.update(replace(SNAPSHOT, num_requests=500))
    shown = screen(stream.getvalue())
    assert shown[0] == "something happened"
    assert sum("requests" in line for line in shown) == 1
    text = "\n".join(shown)
    for figure in ("1:15", "500", "233", "static 1.42", "adaptive 1.87", "3f2a9c1d77aa", "1 swap)", "step 184"):
        assert figure in text


def test_no_line_of_the_block_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 20)))
    stream = Terminal()
    Progress(stream).update(replace(SNAPSHOT, phase="a phase " * 20))
    assert max(len(line) for line in stream.getvalue().split("\n")) < 30


def test_without_a_terminal_there_is_a_line_now_and_then_and_no_control_character() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for tick in range(100):
        progress.update(replace(SNAPSHOT, seconds=tick * LINE_EVERY / 20))
    assert len(stream.getvalue().splitlines()) == 5
    assert "\x1b" not in stream.getvalue()
    assert "requests 412 (0 failed), tokens/s 233" in stream.getvalue()


def status(requests: int, adaptive: float = 1.5, swaps: int = 0, version: str = "v0") -> Status:
    """After `requests` of ten steps each, all at the same length of `adaptive`; static ones at 1.4."""
    steps = 10.0 * requests
    return Status(
        version=version,
        num_swaps=swaps,
        training_step=0,
        training_state="",
        num_tokens=20 * requests,
        static=Acceptance(steps, 1.4 * steps),
        adaptive=Acceptance(steps, adaptive * steps),
        served=Acceptance(0.0, 0.0),
    )


def exchange(error: str | None = None) -> Exchange:
    return Exchange(index=0, domain="sql", temperature=0.8, seed=0, max_tokens=8, latency=0.1, error=error)


def answer(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        recorder.record(exchange())


def test_a_point_looks_back_on_the_window_alone() -> None:
    recorder = Recorder(status(0))
    recorder.begin(("sql",))
    answer(recorder, 100)
    recorder.observe(status(100, adaptive=1.2), 10.0)
    answer(recorder, WINDOW - 10)
    recorder.observe(status(90 + WINDOW, adaptive=1.9), 18.0)
    answer(recorder, 10)
    # of 1500 steps at 1.3 on the whole, 1000 were at 1.2: the last 500 were at 1.5
    recorder.observe(status(100 + WINDOW, adaptive=1.3), 20.0)
    first, _, second = recorder.points()
    assert first.adaptive == pytest.approx(1.2)
    assert second.adaptive == pytest.approx(1.5)
    assert second.served is None
    assert second.tokens_per_second == pytest.approx(20 * WINDOW / 10)


def test_what_came_before_the_first_status_does_not_count() -> None:
    recorder = Recorder(status(1000, adaptive=9.0, swaps=5))
    recorder.begin(("sql",))
    answer(recorder, 20)
    now = status(1020, adaptive=(9.0 * 1000 + 1.5 * 20) / 1020, swaps=6, version="v1")
    recorder.observe(now, 4.0)
    (point,) = recorder.points()
    assert point.adaptive == pytest.approx(1.5)
    assert recorder.num_swaps == 1
    assert recorder.num_tokens == 400


def test_a_swap_is_marked_where_it_was_first_seen() -> None:
    recorder = Recorder(status(0))
    recorder.begin(("stories",))
    answer(recorder, 30)
    recorder.observe(status(30, swaps=1, version="v1"), 1.0)
    recorder.begin(("sql",))
    assert not recorder.swapped_in_this_phase()
    answer(recorder, 12)
    recorder.observe(status(42, swaps=2, version="v2"), 2.0)
    assert recorder.swapped_in_this_phase()
    assert [(mark.kind, mark.num_requests) for mark in recorder.marks] == [
        ("phase", 0),
        ("swap", 30),
        ("phase", 30),
        ("swap", 42),
    ]
    recorder.observe(status(42, swaps=3, version="v1"), 3.0)
    assert recorder.in_service_at == {"v0": 0, "v1": 30, "v2": 42}


def test_the_worst_window_lies_wholly_after_the_shift() -> None:
    recorder = Recorder(status(0))
    recorder.begin(("stories",))
    totals = 0.0
    # by tens of requests: bad before the shift at 100, then worst from 120 to 190
    for tens in range(1, 31):
        if tens == 11:
            recorder.begin(("sql",))
        answer(recorder, 10)
        totals += 100 * (0.7 if tens <= 10 else 1.33 if 12 < tens <= 19 else 1.54)
        recorder.observe(status(10 * tens, adaptive=totals / (100 * tens)), float(tens))
    assert recorder.worst_window() == pytest.approx(1.33 / 1.4)


def test_failed_requests_are_counted_and_shown() -> None:
    recorder = Recorder(status(0))
    recorder.begin(("sql",))
    recorder.record(exchange("APIConnectionError"))
    recorder.observe(status(1), 1.0)
    assert recorder.snapshot().num_failed == 1
    assert recorder.snapshot().num_requests == 1
