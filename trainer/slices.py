"""Slices: how much of the machine training takes beside a server.

All work is cut into slices of at most 50 ms of one thread. While the server idles they run back to back; while it is busy each is
followed by a pause that leaves the trainer its small guaranteed share, so that it never starves. Without a server it
runs at full speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.registry import Presence

Load = Literal["alone", "idle", "busy"]


def load_of(presences: Sequence[Presence]) -> Load:
    """What the servers at the registry are doing: `busy` when one of them is, `alone` when there is none."""
    servers = [each for each in presences if each.name.startswith("serving:")]
    if not servers:
        return "alone"
    return "busy" if any(each.figures.get("busy", 1.0) > 0 for each in servers) else "idle"


@dataclass(slots=True)
class Used:
    """Seconds of one thread that training took, by what the server did meanwhile."""

    alone: float = 0.0
    idle: float = 0.0
    guaranteed: float = 0.0
    """While the server was busy."""


class Pacer:
    """Runs slices, and pauses after each while the server is busy.

    look: the load now, asked when the last answer is older than `interval` seconds. share: of one thread,
    guaranteed while the server is busy. clock: seconds, monotonic. worked: seconds of processor time of this thread.
    wait: sleeps that long, or less when the process is told to stop; True: it is.
    """

    def __init__(
        self,
        look: Callable[[], Load],
        *,
        share: float,
        interval: float,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        self.used = Used()
        self._look = look
        self._share = share
        self._interval = interval
        self._wait = wait
        self._clock = clock
        self._worked = worked
        self._load: Load = "alone"
        self._looked_at = float("-inf")

    @property
    def load(self) -> Load:
        """As it was at most `interval` ago."""
        now = self._clock()
        if now - self._looked_at >= self._interval:
            self._load = self._look()
            self._looked_at = now
        return self._load

    def run(self, work: Callable[[], bool]) -> bool:
        """One slice, and the pause it calls for; returns what the slice did.

        The pause ends early when the server falls idle.
        """
        load, started = self.load, self._worked()
        done = work()
        seconds = self._worked() - started
        self._book(load, seconds)
        until = self._clock() + seconds * (1 / self._share - 1)
        while self.load == "busy" and (left := until - self._clock()) > 0:
            if self._wait(min(left, self._interval)):
                break
        return done

    def _book(self, load: Load, seconds: float) -> None:
        used = self.used
        if load == "alone":
            used.alone += seconds
        elif load == "idle":
            used.idle += seconds
        else:
            used.guaranteed += seconds
