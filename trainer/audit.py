"""Audit: what the traffic log holds no more, the trainer lets go of as well."""

from __future__ import annotations

import logging

from trainer.feed import Feed
from trainer.kept import Kept
from trainer.pools import Pools
from trainer.teacher import LessonCache

log = logging.getLogger(__name__)

CHUNK = 32
"""Traces looked up in one slice: about 3 ms."""


class Audit:
    """Goes round all traces held, a few at a time: so retention, expiry and the purge of a tenant reach the pools too.

    What weights have learnt stays learnt.
    """

    def __init__(self, feed: Feed, pools: Pools, lessons: LessonCache) -> None:
        self._feed = feed
        self._pools = pools
        self._lessons = lessons
        self._left: list[Kept] = []

    def look(self) -> int:
        """Looks the next few up; returns how many had to go. Raises LogUnavailable."""
        self._left = self._left or list(self._pools)
        chunk, self._left = self._left[:CHUNK], self._left[CHUNK:]
        gone = self._feed.gone(chunk)
        if gone:
            self._pools.forget(gone)
            self._forget_lessons(gone)
            log.info("%d traces are in the traffic log no more: forgotten", len(gone))
        return len(gone)

    def _forget_lessons(self, numbers: frozenset[int]) -> None:
        for number in numbers:
            self._lessons.forget(number)
