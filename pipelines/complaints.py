"""Complaints: warnings about one thing, few enough to be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_INTERVAL = 10.0
"""Seconds."""


class Complaints:
    """Warns of `subject`, but not of each of a thousand traces: what follows within ten seconds is left out; counters know it."""

    def __init__(self, log: logging.Logger, subject: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._subject = subject
        self._clock = clock
        self._silent_until = clock()

    def warn(self, message: str) -> None:
        """From any thread."""
        now = self._clock()
        if now >= self._silent_until:
            self._silent_until = now + _INTERVAL
            self._log.warning("%s: %s", self._subject, message)
