"""Preparing: something that takes its time, made by a thread, for a loop that must not wait for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Preparing(Generic[T]):
    """One thing at a time; of several that are wanted meanwhile, the newest. what: in the log, where making one fails."""

    def __init__(self, what: str) -> None:
        self.failure = ""
        """Why what was to be `taken` last could not be made; empty: it could, or there was nothing."""
        self._what = what
        self._wanted: Callable[[], T] | None = None
        self._box: list[T | Exception] | None = None
        """Empty while the thread works; then what came of it."""

    @property
    def busy(self) -> bool:
        """Whether something is being made, or waits to be taken."""
        return self._box is not None

    def want(self, make: Callable[[], T]) -> None:
        """Has it made."""
        self._wanted = make
        if self._box is None:
            self._start()

    def taken(self) -> T | None:
        """What has been made, once; None: there is nothing, yet or any more, or it could not be made (`failure`)."""
        self.failure = ""
        if not self._box:
            return None
        (made,), self._box = self._box, None
        self._start()
        if isinstance(made, Exception):
            self.failure = str(made) or type(made).__name__
            return None
        return made

    def _start(self) -> None:
        make, self._wanted = self._wanted, None
        if make is None:
            return
        box = self._box = []

        def work() -> None:
            try:
                box.append(make())
            except Exception as error:  # whatever it is, no memory included: else nothing would ever be made again
                log.error("%s: %s", self._what, error)
                box.append(error)

        threading.Thread(target=work, name="preparing", daemon=True).start()
