"""Lead: of several trainers of one slot, one trains; the others read along and wait."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.registry import Registry, Slot

log = logging.getLogger(__name__)

TTL = 15.0
"""Seconds for which a lead is taken: what a slot waits for when its trainer is gone."""
_RENEW = 5.0


class Lead:
    """Holds the lead of a slot, or asks for it. name: of this trainer, and of it alone.

    clock: seconds, monotonic.
    """

    def __init__(self, registry: Registry, slot: Slot, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._slot = slot
        self._name = name
        self._clock = clock
        self._ask_at = float("-inf")
        self.fence: int | None = None
        """What every publication has to show; None: somebody else leads, or nobody was asked yet."""

    @property
    def held(self) -> bool:
        return self.fence is not None

    def keep(self) -> None:
        """Takes the lead, or says that it is kept; asks no more often than needed. Raises RegistryUnavailable."""
        now = self._clock()
        if now < self._ask_at:
            return
        fence = self._registry.lead(self._slot, self._name, TTL)
        if (fence is None) != (self.fence is None):
            log.info("another trainer leads: waiting" if fence is None else f"this trainer leads: fence {fence}")
        self.fence = fence
        self._ask_at = now + _RENEW

    def resign(self) -> None:
        """Raises RegistryUnavailable."""
        if self.held:
            self._registry.resign(self._slot, self._name)
            self.fence = None


def lead_name(name: str, state: Path) -> str:
    """The same for the same trainer started again: it need not wait for its own lead to lapse."""
    place = f"{platform.node()}:{state.absolute()}"
    return f"{name}:{hashlib.sha256(place.encode()).hexdigest()[:12]}"
