"""EngineProcess: an engine in a process of its own, as the HTTP side sees it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import socket
from collections.abc import AsyncIterator, Callable

import msgspec

from pipelines.wire import Frames, frame
from serving.link import EngineDead, RequestRefused
from serving.messages import Abort, Command, FromEngine, Moved, Progress, Refused, Request, Snapshot, Stopped, Submit, ToEngine
from serving.settings import EngineSettings

SPIN_COUNT = 2000
"""Turns that OpenMP's threads spin for each other before they sleep (GNU's variable, read by the child when torch loads).

By default they spin through their time slice: with one more busy process on two cores, a step of two threads took 71 ms so,
10 ms with this, and 4 ms with one thread, which is why one core is left free by default.
"""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)


def _run(settings: EngineSettings, sock: socket.socket) -> None:
    from serving.engine_main import engine_main  # here: the HTTP side has no use for torch

    engine_main(settings, sock)


class EngineProcess:
    """Implements `serving.link.EngineLink` over a socket pair. Use from one event loop."""

    def __init__(self, settings: EngineSettings, on_death: Callable[[str], None] = lambda why: None) -> None:
        self._settings = settings
        self._on_death = on_death
        self._ids = itertools.count(1)
        self._listeners: dict[int, asyncio.Queue[Moved | Exception]] = {}
        self._snapshot: Snapshot | None = None
        self._ready = asyncio.Event()
        self._error: str | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._process: multiprocessing.process.BaseProcess | None = None

    async def start(self, timeout: float = 300.0) -> None:
        """Starts the process and waits until it is ready. Raises EngineDead with its reason if it fails."""
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
        ours, theirs = socket.socketpair()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(self._settings, theirs), name="everdraft-engine", daemon=True
        )
        self._process.start()
        theirs.close()
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader))
        await asyncio.wait_for(self._ready.wait(), timeout)
        if self._error is not None:
            raise EngineDead(self._error)

    async def stop(self, drain_seconds: float = 30.0) -> None:
        """Lets what runs finish for up to `drain_seconds`, then stops the process."""
        if self._process is None:
            return
        if self.alive():
            self._send(Command("drain"))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._join()), drain_seconds)
        if self._process.is_alive():
            self._send(Command("stop"))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._join()), 5.0)
        if self._process.is_alive():
            self._process.kill()
        await self._join()
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None:
            await self._reading

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def next_id(self) -> int:
        return next(self._ids)

    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    def alive(self) -> bool:
        return self._error is None and self._process is not None and self._process.is_alive()

    def set_speculation(self, on: bool) -> None:
        self._send(Command("speculation", "on" if on else "off"))

    async def submit(self, request: Request) -> AsyncIterator[Moved]:
        """See `EngineLink.submit`."""
        if self._error is not None:
            raise EngineDead(self._error)
        queue: asyncio.Queue[Moved | Exception] = asyncio.Queue()
        self._listeners[request.id] = queue
        finished = False
        try:
            self._send(Submit(request))
            while not finished:
                item = await queue.get()
                if isinstance(item, Exception):
                    finished = True
                    raise item
                finished = item.finish_reason is not None
                yield item
        finally:
            del self._listeners[request.id]
            if not finished:
                self._send(Abort(request.id))

    def _send(self, message: ToEngine) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(_encoder.encode(message)))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = Frames()
        why = "the engine process ended without a word"
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for each in frames.feed(data):
                    message = _decoder.decode(each)
                    if isinstance(message, Stopped):
                        why = message.error
                    else:
                        self._take(message)
        self._died(why)

    def _take(self, message: Progress | Refused | Snapshot) -> None:
        if isinstance(message, Snapshot):
            self._snapshot = message
            self._ready.set()
        elif isinstance(message, Refused):
            self._tell(message.id, RequestRefused(message))
        else:
            for moved in message.moved:
                self._tell(moved.id, moved)

    def _tell(self, request_id: int, item: Moved | Exception) -> None:
        queue = self._listeners.get(request_id)
        if queue is not None:  # else it was aborted meanwhile
            queue.put_nowait(item)

    def _died(self, why: str) -> None:
        self._error = why or "the engine was stopped"
        for queue in self._listeners.values():
            queue.put_nowait(EngineDead(self._error))
        self._ready.set()
        if why:
            self._on_death(why)

    async def _join(self) -> None:
        assert self._process is not None
        while self._process.is_alive():
            await asyncio.sleep(0.02)
