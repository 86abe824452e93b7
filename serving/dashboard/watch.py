"""RegistryWatch: one look at the registry a second, however many pages are open; none while none is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.errors import PipelineError
from pipelines.registry import Registry, Slot
from serving.dashboard.slot_reader import KEPT_EVENTS, Look, SlotReader, Versions
from serving.dashboard.slot_view import EventView, SlotView

FRESH_SECONDS = 0.9
"""Less than the second between two questions of a page, so that each of them gets a new look."""
_PATIENCE = 0.25
"""Seconds that a page waits for a look: then it gets what was seen before, and the look goes on without it."""
_SILENT_SECONDS = 3.0
"""After which a registry that has not answered is away."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Sight:
    """What is known of the registry, from the latest look that succeeded. Times are Unix seconds."""

    slot: SlotView | None = None
    """None: it has never answered."""
    events: deque[tuple[float, EventView]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    """Oldest first, each with when it came to light here."""
    versions: Versions | None = None
    versions_at: float = 0.0
    """When they came to light."""
    away_since: float | None = None
    """None: it answers."""
    problem: str = ""


class RegistryWatch:
    """To be used in one event loop. clock: Unix seconds."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry
        self._clock = clock
        self._reader: SlotReader | None = None
        self._sight = Sight()
        self._started_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def sight(self, slot: Slot) -> Sight:
        """As of about a second ago. While the registry is away: what was there before, and since when it is away."""
        if self._looking is None and not 0 <= self._clock() - self._started_at < FRESH_SECONDS:
            self._started_at = self._clock()
            self._looking = asyncio.create_task(self._look(slot))
        if self._looking is not None:
            await asyncio.wait((self._looking,), timeout=_PATIENCE)
        if self._looking is not None and self._clock() - self._started_at > _SILENT_SECONDS:
            self._away("it does not answer")
        return self._sight

    async def _look(self, slot: Slot) -> None:
        if self._reader is None or self._reader.slot != slot:
            self._reader = SlotReader(self._registry, slot, self._clock)
        try:
            self._take(await asyncio.to_thread(self._reader.look))
        except PipelineError as error:
            self._away(str(error))
        except Exception:
            _log.exception("dashboard: the registry could not be shown")
            self._away("the server could not read it; its log says why")
        finally:
            self._looking = None

    def _take(self, look: Look) -> None:
        """Stamped here and not where it was read: a page that was answered meanwhile asks for what is newer than that."""
        sight, now = self._sight, self._clock()
        sight.slot, sight.away_since, sight.problem = look.slot, None, ""
        if look.anew:
            sight.events.clear()
        sight.events += [(now, event) for event in look.events]
        if look.versions is not None:
            sight.versions, sight.versions_at = look.versions, now

    def _away(self, problem: str) -> None:
        if self._sight.away_since is None:
            self._sight.away_since = self._started_at
        self._sight.problem = problem
