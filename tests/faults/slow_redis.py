"""A Redis at the end of a line that can be slow."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

from tests.servers.redis_server import RedisServer


class SlowLine:
    """Forwards to a port; every answer is held up for `delay` seconds."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._behind))
                except OSError:
                    client.close()
                    continue
                self._ends += [client, server]
                for source, sink, delayed in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pipe, args=(source, sink, delayed), daemon=True).start()

    def _pipe(self, source: socket.socket, sink: socket.socket, delayed: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if delayed:
                    time.sleep(self.delay)
                sink.sendall(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class DistantRedis:
    """persistent: as in RedisServer. url: by way of the line."""

    def __init__(self, folder: Path, *, persistent: bool = True) -> None:
        folder.mkdir(parents=True)
        self.server = RedisServer(folder, persistent=persistent)
        self.server.start()
        self.line = SlowLine(self.server.port)
        self.url = f"redis://127.0.0.1:{self.line.port}/0?timeout=5"

    def close(self) -> None:
        self.line.close()
        self.server.kill()
