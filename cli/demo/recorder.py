"""Recorder: what happened while traffic ran, as exchanges, points of the curves and marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cli.demo.figures import WINDOW, Mark, Point
from cli.demo.progress import Snapshot
from cli.demo.stack import Status
from cli.demo.traffic import Exchange

SHORTEST = 10
"""Requests that a window has at least: before, a curve would show noise."""


@dataclass
class Phase:
    """A stretch of traffic on the same domains."""

    domains: tuple[str, ...]
    start: int
    """Requests answered before it."""
    num_swaps_before: int
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " + ".join(self.domains)


class _Seen(NamedTuple):
    num_requests: int
    seconds: float
    status: Status


class Recorder:
    """Takes exchanges as they end and the stack's status now and then; counting starts at `first`."""

    def __init__(self, first: Status) -> None:
        self.phases: list[Phase] = []
        self.marks: list[Mark] = []
        self.num_requests = 0
        self.num_failed = 0
        self.in_service_at: dict[str, int] = {first.version: 0}
        """Requests answered when each version was first seen in service."""
        self._seen = [_Seen(0, 0.0, first)]

    @property
    def exchanges(self) -> list[Exchange]:
        """Of all phases, in the order they ended."""
        return [exchange for phase in self.phases for exchange in phase.exchanges]

    @property
    def num_swaps(self) -> int:
        return self._seen[-1].status.num_swaps - self._seen[0].status.num_swaps

    @property
    def tokens_per_second(self) -> float:
        return _rate(self._seen[0], self._seen[-1])

    @property
    def num_tokens(self) -> int:
        return self._seen[-1].status.num_tokens - self._seen[0].status.num_tokens

    def begin(self, domains: tuple[str, ...]) -> None:
        """A phase of the traffic starts."""
        phase = Phase(domains, self.num_requests, self.num_swaps)
        self.phases.append(phase)
        self.marks.append(Mark("phase", phase.start, phase.name))

    def record(self, exchange: Exchange) -> None:
        self.phases[-1].exchanges.append(exchange)
        self.num_requests += 1
        self.num_failed += exchange.error is not None

    def observe(self, status: Status, seconds: float) -> None:
        """seconds: since the first request."""
        before = self._seen[-1].status
        at = self.num_requests
        if status.num_swaps > before.num_swaps:
            self.marks.append(Mark("swap", at, f"version {status.version[:12]} after {at} requests"))
        self.in_service_at.setdefault(status.version, at)
        self._seen.append(_Seen(at, seconds, status))

    def swapped_in_this_phase(self) -> bool:
        return self.num_swaps > self.phases[-1].num_swaps_before

    def points(self) -> list[Point]:
        """One point for each status whose window is long enough."""
        found = (self._point(index) for index in range(1, len(self._seen)))
        return [point for point in found if point is not None]

    def worst_window(self) -> float | None:
        """The least ratio of adaptive to static length over a window that lies after the last shift."""
        if len(self.phases) < 2:
            return None
        start = self.phases[-1].start + WINDOW
        ratios = [
            point.adaptive / point.static
            for point in self.points()
            if point.num_requests >= start and point.adaptive and point.static
        ]
        return min(ratios, default=None)

    def snapshot(self) -> Snapshot:
        """What to show now."""
        last, point = self._seen[-1], self._point(len(self._seen) - 1)
        return Snapshot(
            phase=self.phases[-1].name,
            seconds=last.seconds,
            num_requests=last.num_requests,
            num_failed=self.num_failed,
            tokens_per_second=point.tokens_per_second if point else 0.0,
            static=point.static if point else None,
            adaptive=point.adaptive if point else None,
            served=point.served if point else None,
            version=last.status.version,
            num_swaps=self.num_swaps,
            training_step=last.status.training_step,
            training_state=last.status.training_state,
        )

    def _point(self, index: int) -> Point | None:
        here = self._seen[index]
        start = self._window_start(index)
        if here.num_requests - start.num_requests < SHORTEST:
            return None
        before, now = start.status, here.status
        return Point(
            num_requests=here.num_requests,
            seconds=here.seconds,
            static=(now.static - before.static).length,
            adaptive=(now.adaptive - before.adaptive).length,
            served=(now.served - before.served).length,
            tokens_per_second=_rate(start, here),
            version=now.version,
            training_step=now.training_step,
        )

    def _window_start(self, index: int) -> _Seen:
        """The last status at least WINDOW requests before, else the first of all."""
        earlier: Sequence[_Seen] = self._seen[:index]
        long_ago = self._seen[index].num_requests - WINDOW
        return next((seen for seen in reversed(earlier) if seen.num_requests <= long_ago), self._seen[0])


def _rate(start: _Seen, end: _Seen) -> float:
    seconds = end.seconds - start.seconds
    return (end.status.num_tokens - start.status.num_tokens) / seconds if seconds > 0 else 0.0
