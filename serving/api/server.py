"""Running the app: a socket, uvicorn, and an end that lets running answers finish."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def url_of(bound: socket.socket) -> str:
    """`http://host:port` of a listening socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"


class ApiServer(uvicorn.Server):
    """Serves until `should_exit` or a signal; then takes no more connections and lets what runs finish.

    A second signal cuts what runs short. Unlike uvicorn's own, it returns after a signal, so that its caller
    can close what it opened. drain_seconds: how long answers may go on; those unfinished then are aborted.
    """

    def __init__(self, app: FastAPI, drain_seconds: int = 30, on_listening: Callable[[], None] | None = None) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=drain_seconds,
        )
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_listening is not None:
            self._on_listening()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While it serves, signals end it; only the main thread can be told of them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.should_exit:
            self.config.timeout_graceful_shutdown = 0
            self.force_exit = True
        self.should_exit = True


async def serve(
    app: FastAPI,
    bound: socket.socket,
    *,
    drain_seconds: int = 30,
    on_listening: Callable[[], None] | None = None,
) -> None:
    """Serves `app` on a listening socket, in the running event loop, until a signal or cancellation."""
    await ApiServer(app, drain_seconds, on_listening).serve(sockets=[bound])


def run_server(
    app: FastAPI,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    drain_seconds: int = 30,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serves `app` until a signal. `on_listening` gets the URL once requests are taken. Raises OSError."""
    bound = listen(host, port)
    said = on_listening or (lambda url: None)
    asyncio.run(serve(app, bound, drain_seconds=drain_seconds, on_listening=lambda: said(url_of(bound))))
