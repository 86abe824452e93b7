"""Polling: the registry looked at again and again in the background, through outages, until the engine is done."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipelines.errors import PipelineError
from pipelines.registry import Registry


class Polling:
    """Takes turns in a thread of its own, over one connection; after a turn that failed it waits for `interval` seconds."""

    def __init__(
        self,
        name: str,
        open_registry: Callable[[], Registry] | None,
        interval: float,
        *,
        turn: Callable[[Registry], None],
        away: Callable[[PipelineError], None],
    ) -> None:
        """open_registry: None: there is none, and nothing is done. turn: looks, and waits for the next turn. away: is told why a
        turn has failed."""
        self._open_registry = open_registry
        self._interval = interval
        self._turn = turn
        self._away = away
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        if self._open_registry is not None:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def rest(self) -> None:
        """Waits for `interval` seconds, or until it is stopped."""
        self._stop.wait(self._interval)

    def _run(self) -> None:
        assert self._open_registry is not None
        registry: Registry | None = None
        while not self._stop.is_set():
            try:
                registry = registry or self._open_registry()
                self._turn(registry)
            except PipelineError as error:
                self._away(error)
                self.rest()
        if registry is not None:
            registry.close()
