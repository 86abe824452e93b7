"""Purges: tenants that this server is to forget, read from the registry's audit log, where a purge leaves a line."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import takewhile

from pipelines.errors import PipelineError
from pipelines.operations import PURGE
from pipelines.registry import Act, Registry
from serving.polling import Polling

log = logging.getLogger(__name__)

_MOST_LINES = 1000
"""Of the audit log: what was purged before them a server does not hear of that was away since, or whose registry was."""
_LINES = 50
"""Looked at first, each time."""


class Purges:
    """Looks from a thread of its own. All that is in the log at the start is told too: what a source kept over a restart may
    be older. A registry that is away is asked again."""

    def __init__(self, open_registry: Callable[[], Registry] | None = None, interval: float = 1.0) -> None:
        """open_registry: None: there is none."""
        self._newest: Act | None = None
        """Of any kind, of those that were looked at."""
        self._new: deque[Act] = deque()
        self._polling = Polling("purges", open_registry, interval, turn=self._look, away=self._missed)

    def start(self) -> None:
        self._polling.start()

    def stop(self) -> None:
        self._polling.stop()

    def heed(self, forget: Callable[[str, float], None]) -> None:
        """Calls `forget` for each that was not told yet, with the tenant and the time of its purge. Between two steps, from the
        engine's thread."""
        while self._new:
            act = self._new.popleft()
            forget(act.what, act.at)
            log.info("tenant %s: purged", act.what)

    def _look(self, registry: Registry) -> None:
        acts = registry.acts(_LINES)
        if self._newest not in acts:
            acts = registry.acts(_MOST_LINES)
        unseen = list(takewhile(lambda act: act != self._newest, acts))
        self._new.extend(act for act in reversed(unseen) if act.action == PURGE)
        self._newest = next(iter(acts), self._newest)
        self._polling.rest()

    def _missed(self, error: PipelineError) -> None:
        log.debug("registry: %s", error)  # `Swap` says it
