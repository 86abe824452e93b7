"""SlotReader: what the page wants of a registry, with as few calls as that takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.registry import Event, Registry, Slot, SlotState
from serving.dashboard.slot_view import EventView, SlotView, VersionView, event_view, slot_view, versions_view

KEPT_EVENTS = 300
_RUNS = 40
"""Of all slots, newest first: those of this one are among them."""
_SHOWN_RUNS = 10
_PAGE = 1000
_VERSIONS_SECONDS = 30.0
"""How old versions may be that no event announced: one may be recorded without."""


@dataclass(frozen=True, slots=True)
class Versions:
    shown: list[VersionView]
    num_in_all: int


@dataclass(slots=True)
class News:
    """What is other than at the look before."""

    anew: bool = False
    """The registry was made anew: events seen before are of another one."""
    events: list[Event] = field(default_factory=list)
    """Oldest first."""
    versions: Versions | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The registry at one moment, and what is new in it."""

    slot: SlotView
    anew: bool
    events: list[EventView]
    """Oldest first."""
    versions: Versions | None
    """None: as before."""


class SlotReader:
    """Looks at one slot, again and again, from one thread at a time. clock: Unix seconds."""

    def __init__(self, registry: Registry, slot: Slot, clock: Callable[[], float] = time.time) -> None:
        self.slot = slot
        self._registry = registry
        self._clock = clock
        self._last: Event | None = None
        """Of any slot: where to read on."""
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._state: SlotState | None = None
        self._versions_at = 0.0
        self._news = News()
        """Kept until a look is complete: one that fails halfway loses nothing."""

    def look(self) -> Look:
        """Four short calls; three more when something happened. Raises RegistryError."""
        registry = self._registry
        happened = self._read_events()
        state, news = registry.state(self.slot), self._news
        old = not 0 <= self._clock() - self._versions_at < _VERSIONS_SECONDS
        if happened or old or state != self._state:
            news.versions = self._versions(state)
        runs = [run for run in registry.runs(_RUNS) if run.slot == self.slot][:_SHOWN_RUNS]
        view = slot_view(state, registry.presences(self._clock()), runs)
        self._news = News()
        return Look(view, news.anew, [event_view(event) for event in news.events[-KEPT_EVENTS:]], news.versions)

    def _read_events(self) -> bool:
        """Whether something happened to this slot."""
        while True:
            page = self._registry.events(after=max(0, _id(self._last) - 1), limit=_PAGE)
            if self._last is not None:
                # the last one known is asked for again: where it is not the same, the registry was made anew
                if page[:1] != [self._last]:
                    self._events.clear()
                    self._last, self._news = None, News(anew=True)
                    continue
                del page[0]
            if not page:
                return self._news.anew or bool(self._news.events)
            mine = [event for event in page if event.slot == self.slot]
            self._events += mine
            self._news.events += mine
            self._last = page[-1]

    def _versions(self, state: SlotState) -> Versions:
        registry = self._registry
        manifests = registry.versions(self.slot)
        shown = versions_view(
            state, manifests, registry.stages(self.slot), registry.quarantined(self.slot), self._events
        )
        self._state, self._versions_at = state, self._clock()
        return Versions(shown, len(manifests))


def _id(event: Event | None) -> int:
    return 0 if event is None else event.id
