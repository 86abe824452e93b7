"""Purges: tenants that this server is to forget, read from the registry's audit log, where a purge leaves a line."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing

from pipelines.errors import PipelineError
from pipelines.operations import PURGE
from pipelines.registry import Act, Registry

log = logging.getLogger(__name__)

_LINES_AT_START = 1000
"""Of the audit log: what was purged before them a server does not hear of that was away since."""
_LINES = 50
"""Looked at each time from then on."""


class Purges:
    """Looks from a thread of its own. All that is in the log at the start is told too: what a source kept over a restart may
    be older. A registry that is away is asked again."""

    def __init__(self, open_registry: Callable[[], Registry] | None = None, interval: float = 1.0) -> None:
        """open_registry: None: there is none."""
        self._open_registry = open_registry
        self._interval = interval
        self._known: set[Act] = set()
        self._new: deque[Act] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="purges", daemon=True)

    def start(self) -> None:
        if self._open_registry is not None:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def heed(self, forget: Callable[[str, float], None]) -> None:
        """Calls `forget` for each that was not told yet, with the tenant and the time of its purge. Between two steps, from the
        engine's thread."""
        while self._new:
            act = self._new.popleft()
            forget(act.what, act.at)
            log.info("tenant %s: purged", act.what)

    def _poll(self) -> None:
        assert self._open_registry is not None
        while not self._stop.is_set():
            try:
                with closing(self._open_registry()) as registry:
                    self._look(registry, _LINES_AT_START)  # also when the registry was away for a while
                    while not self._stop.wait(self._interval):
                        self._look(registry, _LINES)
            except PipelineError as error:
                log.debug("registry: %s", error)  # `Swap` says it
                self._stop.wait(self._interval)

    def _look(self, registry: Registry, num_lines: int) -> None:
        purged = [act for act in registry.acts(num_lines) if act.action == PURGE]
        self._new.extend(act for act in reversed(purged) if act not in self._known)
        self._known.update(purged)
