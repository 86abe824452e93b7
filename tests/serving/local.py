"""A real engine, tiny and random, as an `EngineLink` within the event loop that serves it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from serving.engine import Engine
from serving.engine_main import snapshot
from serving.link import RequestRefused
from serving.messages import Moved, Request, Snapshot
from tests.serving.rig import plain_engine, tiny_decoder, tiny_target
from tests.serving.tokenizers import ByteTokenizer

DECODER = tiny_decoder(vocab_size=ByteTokenizer.vocab_size)


def local_engine() -> Engine:
    return plain_engine(tiny_target(DECODER, num_pages=400))


class LocalEngine:
    """Whoever waits for a step makes it."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or local_engine()
        self._ids = itertools.count(1)
        self._moves: dict[int, list[Moved]] = {}

    async def submit(self, request: Request) -> AsyncIterator[Moved]:
        refused = self.engine.submit(request)
        if refused is not None:
            raise RequestRefused(refused)
        moves = self._moves[request.id] = []
        try:
            while True:
                while not moves:
                    for moved in self.engine.step():
                        self._moves[moved.id].append(moved)
                    await asyncio.sleep(0)
                yield (moved := moves.pop(0))
                if moved.finish_reason is not None:
                    return
        finally:
            self.engine.abort(request.id)
            del self._moves[request.id]

    def next_id(self) -> int:
        return next(self._ids)

    def snapshot(self) -> Snapshot | None:
        return snapshot(self.engine)

    def alive(self) -> bool:
        return True

    def set_speculation(self, on: bool) -> None:
        self.engine.speculation = on


def said_by(request: Request) -> tuple[int, ...]:
    """What an engine of its own answers."""
    engine, said = local_engine(), []
    assert engine.submit(request) is None
    while engine.has_work:
        said += [token for moved in engine.step() for token in moved.token_ids]
    return tuple(said)
