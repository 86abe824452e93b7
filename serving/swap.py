"""Swap: notices what the slot asks for, loads it in the background, and flips to it between two steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.checkpoint import Checkpoint
from pipelines.errors import BadCheckpoint, PipelineError
from pipelines.registry import Presence, Registry, Slot, SlotState
from pipelines.store import CheckpointStore
from serving.polling import Polling
from serving.referee import Referee
from speculator import kinds
from speculator.merged import MergedSpeculator
from speculator.newer import Unfit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rival:
    """A second version, and the part of this replica's requests that it serves."""

    checkpoint: Checkpoint
    share: float


@dataclass(frozen=True, slots=True)
class Lineup:
    """What a generation of the slot puts in service."""

    generation: int
    champion: Checkpoint | None
    """None: the one in service stays."""
    rival: Rival | None


class Swap:
    """Polls the registry from a thread of its own; the engine only ever takes what is loaded and checked.

    A checkpoint that is corrupt, foreign or unreadable is refused, reported once, and the version in service stays. A registry
    that is away changes nothing.
    """

    def __init__(
        self,
        slot: Slot,
        *,
        open_registry: Callable[[], Registry] | None = None,
        store: CheckpointStore | None = None,
        interval: float = 0.5,
        presence: Callable[[], Presence] | None = None,
        referee: Referee | None = None,
    ) -> None:
        """presence: what to announce at each poll. referee: decides on versions that are tried out; None: none are."""
        self.generation = 0
        self.num_swaps = 0
        self.num_failures = 0
        self.last_swap_at = 0.0
        self.last_error = ""
        self.slot = slot
        self.speculation = True
        """False: the slot is to decode plainly."""
        self._store = store
        self._interval = interval
        self._presence = presence
        self._referee = referee
        self._ready: Lineup | None = None
        self._state = SlotState()
        """As of the last look."""
        self._lined_up: str | None = None
        """The champion that was loaded last."""
        self._event = 0
        """The newest event seen: the next one ends the wait for the next look."""
        self._polling = Polling("swap", open_registry, interval, turn=self._turn, away=self._missed)

    def start(self) -> None:
        """Starts polling; does nothing without a registry."""
        self._polling.start()

    def stop(self) -> None:
        self._polling.stop()

    def if_newer(self, speculator: MergedSpeculator) -> bool:
        """Flips to what is ready, if anything is. Between two steps, from the engine's thread."""
        ready = self._ready
        if ready is None:
            return False
        self._ready = None
        if ready.champion is not None:
            try:
                speculator.load(ready.champion)
            except BadCheckpoint as error:
                self._lined_up = None
                self._refuse(ready.generation, str(error))
                return False
            self.num_swaps += 1
            self.last_swap_at = time.time()
            log.info("swapped to version %s, generation %d", ready.champion.manifest.version, ready.generation)
        self.generation = ready.generation
        self._flip_rival(ready, speculator)
        return True

    def unfit(self, unfit: Unfit, speculator: MergedSpeculator) -> None:
        """Weights that it flipped to could not be prepared: they are refused after all, and a trial of them ends. Between two
        steps, from the engine's thread."""
        why = f"version {unfit.version} cannot be prepared: {unfit.why}"
        if unfit.source == kinds.rival(self.slot.kind):
            self._refuse(self.generation, why)
            if self._referee is not None:
                self._referee.dismiss(speculator)
                self._referee.unfit(self.generation, unfit.version, why)
        elif unfit.version == self._lined_up:
            self._lined_up = None  # the next generation that names it tries again
            self._refuse(self.generation, why)

    def _flip_rival(self, ready: Lineup, speculator: MergedSpeculator) -> None:
        referee, rival = self._referee, ready.rival
        if referee is None:
            return
        if rival is None:
            referee.dismiss(speculator)
            return
        try:
            referee.begin(ready.generation, rival.checkpoint, rival.share, speculator)
        except BadCheckpoint as error:
            self._refuse(ready.generation, str(error))
            referee.unfit(ready.generation, rival.checkpoint.manifest.version, str(error))

    def _turn(self, registry: Registry) -> None:
        if self._presence is not None:
            registry.announce(self._presence())  # first: also a server that cannot load what it should is there
        self._look(registry)
        if self._referee is not None and self._referee.look(registry, self._state):
            self._ready = Lineup(self._state.generation, None, None)
        if registry.wait(self._event, self._interval):
            self._event = max(event.id for event in registry.events(self._event, 1000))

    def _missed(self, error: PipelineError) -> None:
        """The registry is away: serving goes on with what it has."""
        if str(error) != self.last_error:
            log.warning("registry: %s", error)
        self.last_error = str(error)

    def _look(self, registry: Registry) -> None:
        state = registry.state(self.slot)
        self.speculation = state.speculation
        if state.champion is None and self._state.champion is not None:
            kept = self._state.champion
            log.error("the registry has lost all versions: %s stays in service (everdraft registry rebuild)", kept)
            self._state = SlotState()
            return
        if state.generation != self._state.generation:
            self._line_up(registry, self._state, state)
        self._state = state

    def _line_up(self, registry: Registry, before: SlotState, state: SlotState) -> None:
        try:
            champion = self._champion(registry, state)
        except BadCheckpoint as error:
            self._refuse(state.generation, str(error))
            return
        rival = self._rival(registry, before, state)
        self._lined_up = state.champion  # only now: had the registry gone away meanwhile, all of it would be tried again
        waiting = self._ready
        if champion is None and waiting is not None:
            champion = waiting.champion  # loaded for the generation before, and not flipped to yet
        self._ready = Lineup(state.generation, champion, rival)

    def _champion(self, registry: Registry, state: SlotState) -> Checkpoint | None:
        """The one to flip to; None: it is in service already. Raises BadCheckpoint."""
        version = state.champion
        if version is None or version == self._lined_up:
            return None
        return self._load(registry, version)

    def _rival(self, registry: Registry, before: SlotState, state: SlotState) -> Rival | None:
        if self._referee is None:
            return None
        version, share = self._referee.rival(before, state)
        if version is None:
            return None
        try:
            return Rival(self._load(registry, version), share)
        except BadCheckpoint as error:
            self._refuse(state.generation, str(error))
            self._referee.unfit(state.generation, version, str(error))
            return None

    def _load(self, registry: Registry, version: str) -> Checkpoint:
        """Raises BadCheckpoint, RegistryError."""
        assert self._store is not None
        location = registry.location(self.slot, version)
        tokenizer = registry.manifest(self.slot, version).tokenizer
        return self._store.load(location, target=self.slot.target, tokenizer=tokenizer, kind=self.slot.kind)

    def _refuse(self, generation: int, why: str) -> None:
        self.num_failures += 1
        self.last_error = f"generation {generation}: {why}"
        log.error("checkpoint refused, the version before stays in service: %s", self.last_error)
