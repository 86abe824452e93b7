"""LocalLink: an engine within this process, stepped by the event loop that waits for it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from serving.engine import Engine
from serving.engine_main import snapshot
from serving.link import RequestRefused
from serving.messages import Moved, Request, Snapshot


class LocalLink:
    """Implements `serving.link.EngineLink`. Steps hold up the loop: for who serves nobody else meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids = itertools.count(1)
        self._inboxes: dict[int, asyncio.Queue[Moved | Exception]] = {}
        self._steps: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> AsyncIterator[Moved]:
        """See `EngineLink.submit`; raises whatever a step of the engine does."""
        refused = self._engine.submit(request)
        if refused is not None:
            raise RequestRefused(refused)
        inbox = self._inboxes[request.id] = asyncio.Queue()
        if self._steps is None or self._steps.done():
            self._steps = asyncio.get_running_loop().create_task(self._work())
        try:
            while True:
                moved = await inbox.get()
                if isinstance(moved, Exception):
                    raise moved
                yield moved
                if moved.finish_reason is not None:
                    return
        finally:
            del self._inboxes[request.id]
            self._engine.abort(request.id)

    def next_id(self) -> int:
        return next(self._ids)

    def snapshot(self) -> Snapshot | None:
        return snapshot(self._engine)

    def alive(self) -> bool:
        return True

    def set_speculation(self, on: bool) -> None:
        self._engine.speculation = on

    async def _work(self) -> None:
        """Steps until nobody waits. Between two of them everybody takes what is there, and may leave."""
        try:
            while self._engine.has_work:
                for moved in self._engine.step():
                    self._inboxes[moved.id].put_nowait(moved)
                for refused in self._engine.take_refused():
                    self._inboxes[refused.id].put_nowait(RequestRefused(refused))
                await asyncio.sleep(0)
        except Exception as error:
            for inbox in self._inboxes.values():
                inbox.put_nowait(error)
