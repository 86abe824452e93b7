"""What is going on, live: one block on a terminal that is written over, plain lines elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TextIO

LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


@dataclass(frozen=True)
class Snapshot:
    """What is shown. Lengths are mean acceptance lengths over the last requests."""

    phase: str
    seconds: float
    num_requests: int
    num_failed: int
    tokens_per_second: float
    static: float | None
    adaptive: float | None
    served: float | None
    version: str
    num_swaps: int
    training_step: int
    training_state: str


class Progress:
    """Shows snapshots on `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._num_lines = 0
        self._next_line = 0.0

    def update(self, snapshot: Snapshot) -> None:
        """Shows `snapshot` in place of the one before; without a terminal, every LINE_EVERY seconds of it."""
        if self._live:
            self._erase()
            self._write_block(snapshot)
        elif snapshot.seconds >= self._next_line:
            self._next_line = snapshot.seconds + LINE_EVERY
            self._stream.write(", ".join(f"{name} {text}" for name, text in _rows(snapshot)) + "\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._erase()
        self._stream.write(text + "\n")
        self._stream.flush()

    def _write_block(self, snapshot: Snapshot) -> None:
        width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be written over
        lines = [f"  {name:<10}{text}"[:width] for name, text in _rows(snapshot)]
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._num_lines = len(lines)

    def _erase(self) -> None:
        if self._num_lines:
            self._stream.write(f"\x1b[{self._num_lines}F\x1b[J")
            self._num_lines = 0


def _rows(snapshot: Snapshot) -> list[tuple[str, str]]:
    minutes, seconds = divmod(int(snapshot.seconds), 60)
    swaps = f"{snapshot.num_swaps} swap{'' if snapshot.num_swaps == 1 else 's'}"
    return [
        (f"{minutes}:{seconds:02d}", snapshot.phase),
        ("requests", f"{snapshot.num_requests} ({snapshot.num_failed} failed)"),
        ("tokens/s", f"{snapshot.tokens_per_second:.0f}"),
        ("accepted", _lengths(snapshot)),
        ("version", f"{snapshot.version[:12]} ({swaps})"),
        ("training", f"step {snapshot.training_step} ({snapshot.training_state})"),
    ]


def _lengths(snapshot: Snapshot) -> str:
    named = (("static", snapshot.static), ("adaptive", snapshot.adaptive), ("as served", snapshot.served))
    known = ", ".join(f"{name} {length:.2f}" for name, length in named if length is not None)
    return f"{known} tokens a step" if known else "nothing yet"
