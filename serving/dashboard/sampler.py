"""Sampler: looks at the counters every two seconds, whether or not a page is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from serving.api.service import Service
from serving.dashboard.history import SAMPLE_SECONDS, History
from serving.dashboard.reading import read


class Sampler:
    """Fills a history for as long as `running` lasts. clock: Unix seconds."""

    def __init__(
        self, service: Service, history: History, *, every: float = SAMPLE_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self._service = service
        self._history = history
        self._every = every
        self._clock = clock

    def sample(self) -> None:
        """Takes one reading; none before the engine is ready."""
        snapshot = self._service.engine.snapshot()
        if snapshot is not None:
            self._history.take(read(snapshot, self._service.metrics, self._clock()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(self._every)
