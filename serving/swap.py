"""Swap: notices a newer champion, loads it in the background, and flips to it between two steps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from pipelines.checkpoint import Checkpoint
from pipelines.errors import BadCheckpoint, PipelineError
from pipelines.registry import Presence, Registry, Slot
from pipelines.store import CheckpointStore

log = logging.getLogger(__name__)


class Loadable(Protocol):
    """What takes a checkpoint: a speculator."""

    def load(self, checkpoint: Checkpoint) -> None: ...


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
        floor: Checkpoint | None = None,
        interval: float = 0.5,
        presence: Callable[[], Presence] | None = None,
    ) -> None:
        """floor: what to serve when the slot is empty or emptied by a rollback. presence: what to announce at each poll."""
        self.generation = 0
        self.num_swaps = 0
        self.num_failures = 0
        self.last_swap_at = 0.0
        self.last_error = ""
        self.slot = slot
        self._open_registry = open_registry
        self._store = store
        self._floor = floor
        self._interval = interval
        self._presence = presence
        self._ready: tuple[int, Checkpoint] | None = None
        self._seen = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="swap", daemon=True)

    def start(self) -> None:
        """Starts polling; does nothing without a registry."""
        if self._open_registry is not None:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def if_newer(self, speculator: Loadable) -> bool:
        """Flips to the checkpoint that is ready, if there is one. Between two steps, from the engine's thread."""
        ready = self._ready
        if ready is None:
            return False
        self._ready = None
        generation, checkpoint = ready
        try:
            speculator.load(checkpoint)
        except BadCheckpoint as error:
            self._refuse(generation, str(error))
            return False
        self.generation = generation
        self.num_swaps += 1
        self.last_swap_at = time.time()
        log.info("swapped to version %s, generation %d", checkpoint.manifest.version, generation)
        return True

    def _poll(self) -> None:
        registry: Registry | None = None
        while not self._stop.is_set():
            try:
                if registry is None:
                    assert self._open_registry is not None
                    registry = self._open_registry()
                self._look(registry)
                if self._presence is not None:
                    registry.announce(self._presence())
            except PipelineError as error:
                # the registry is away: serving goes on with what it has
                if str(error) != self.last_error:
                    log.warning("registry: %s", error)
                self.last_error = str(error)
            self._stop.wait(self._interval)
        if registry is not None:
            registry.close()

    def _look(self, registry: Registry) -> None:
        state = registry.state(self.slot)
        if state.generation == self._seen:
            return
        if state.champion is None:
            if self._floor is not None:
                self._ready = (state.generation, self._floor)
            self._seen = state.generation
            return
        try:
            assert self._store is not None
            location = registry.location(self.slot, state.champion)
            tokenizer = registry.manifest(self.slot, state.champion).tokenizer
            checkpoint = self._store.load(location, target=self.slot.target, tokenizer=tokenizer, kind=self.slot.kind)
        except BadCheckpoint as error:
            self._refuse(state.generation, str(error))
        else:
            self._ready = (state.generation, checkpoint)
        self._seen = state.generation

    def _refuse(self, generation: int, why: str) -> None:
        self.num_failures += 1
        self.last_error = f"generation {generation}: {why}"
        log.error("checkpoint refused, the version before stays in service: %s", self.last_error)
