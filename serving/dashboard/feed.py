"""Feed: what the page asks for once a second, and how it is put together. No key is needed, so no text of anybody is in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from pipelines.registry import Slot
from serving.api.service import Service
from serving.dashboard.history import KEPT_SECONDS, History, Sample, SwapMark
from serving.dashboard.slot_view import EventView, SlotView, VersionView
from serving.dashboard.watch import RegistryWatch, Sight
from serving.messages import Snapshot


class ServerPart(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    version: str
    started_at: float
    kept_seconds: float
    admin_key: bool
    """Whether one is configured; without it the admin API is shut."""
    engine: Literal["starting", "running", "gone"]


class EnginePart(msgspec.Struct, frozen=True, kw_only=True):
    versions: dict[str, str]
    generation: int
    num_swaps: int
    num_swap_failures: int
    last_swap_at: float
    last_swap_error: str
    speculation: bool
    running: int
    waiting: int
    pages_used: int
    pages_total: int
    gauges: dict[str, float]


class RegistryPart(msgspec.Struct, frozen=True, kw_only=True):
    configured: bool
    away_since: float | None = None
    problem: str = ""
    slot: SlotView | None = None
    """None: nothing is known of it yet."""
    num_versions: int = 0
    versions: list[VersionView] | UnsetType = UNSET
    """Not sent to who has them."""
    events: list[EventView] = []
    """Those that came to light since `after`; a few may come again."""


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    """The server's clock, Unix seconds: what every age is counted from."""
    server: ServerPart
    engine: EnginePart | None
    samples: list[Sample]
    swaps: list[SwapMark]
    registry: RegistryPart


class Feeder:
    """clock: Unix seconds."""

    def __init__(self, service: Service, history: History, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._history = history
        self._clock = clock
        self._started_at = clock()
        self._watch = None if service.registry is None else RegistryWatch(service.registry, clock)

    async def feed(self, after: float) -> Feed:
        """What is newer than `after`, and everything that has no history. after: `at` of the newest sample the page has."""
        snapshot = self._service.engine.snapshot()
        # first, since what comes to light while this waits must be newer than the samples that go with it
        registry = await self._registry(snapshot, after)
        return Feed(
            at=round(self._clock(), 3),
            server=self._server(snapshot),
            engine=None if snapshot is None else _engine(snapshot),
            samples=self._history.since(after),
            swaps=self._history.swaps(after),
            registry=registry,
        )

    async def _registry(self, snapshot: Snapshot | None, after: float) -> RegistryPart:
        if self._watch is None:
            return RegistryPart(configured=False)
        if snapshot is None:
            return RegistryPart(configured=True)
        return _part(await self._watch.sight(Slot(target=snapshot.target, kind=snapshot.kind)), after)

    def _server(self, snapshot: Snapshot | None) -> ServerPart:
        settings = self._service.settings
        return ServerPart(
            model=settings.model,
            version=settings.version,
            started_at=round(self._started_at, 3),
            kept_seconds=KEPT_SECONDS,
            admin_key=settings.admin_key != "",
            engine="gone" if not self._service.engine.alive() else "starting" if snapshot is None else "running",
        )


def _engine(snapshot: Snapshot) -> EnginePart:
    return EnginePart(
        versions=snapshot.versions,
        generation=snapshot.generation,
        num_swaps=snapshot.num_swaps,
        num_swap_failures=snapshot.num_swap_failures,
        last_swap_at=round(snapshot.last_swap_at, 3),
        last_swap_error=snapshot.last_swap_error,
        speculation=snapshot.speculation,
        running=snapshot.num_running,
        waiting=snapshot.num_waiting,
        pages_used=snapshot.pages_used,
        pages_total=snapshot.pages_total,
        gauges={name: round(value, 4) for name, value in snapshot.gauges.items()},
    )


def _part(sight: Sight, after: float) -> RegistryPart:
    versions = sight.versions
    return RegistryPart(
        configured=True,
        away_since=sight.away_since,
        problem=sight.problem,
        slot=sight.slot,
        num_versions=0 if versions is None else versions.num_in_all,
        versions=versions.shown if versions is not None and sight.versions_at > after else UNSET,
        events=[event for seen_at, event in sight.events if seen_at > after],
    )
