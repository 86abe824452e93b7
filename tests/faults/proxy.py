"""Proxy: stands between the clients and a broker, and is slow, mute or gone when told to be.

The broker behind it says that it lives at the proxy's address, so that clients never go round it. Its records outlive every cut,
as those of a broker with a disk do.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

from tests.servers.kafka_broker import Broker
from tests.servers.process import free_port


class Proxy:
    """Forwards to `port`, from the start. delay: seconds of each answer, one after the other on a connection, as brokers do."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.mute = False
        """Requests go through, answers are lost."""
        self.port = free_port()
        self._behind = port
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self.mend()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Takes connections, and forwards both ways."""
        self.mute = False
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Resets every connection and refuses new ones, as the port of a dead process does."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        with self._lock:
            for connection in self._connections:
                _reset(connection)
            self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._behind))
                except OSError:
                    _reset(client)
                    continue
                for end in (client, broker):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    if self._listener is not listener:
                        _reset(client)
                        _reset(broker)
                        return
                    self._connections |= {client, broker}
                for target in (self._ask, self._answer):
                    threading.Thread(target=target, args=(client, broker), name="proxy", daemon=True).start()

    def _ask(self, client: socket.socket, broker: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := client.recv(1 << 16):
                broker.sendall(chunk)
        self._end(client, broker)

    def _answer(self, client: socket.socket, broker: socket.socket) -> None:
        """Answer by answer: each begins with its length."""
        with contextlib.suppress(OSError):
            while head := _exactly(broker, 4):
                body = _exactly(broker, struct.unpack(">i", head)[0])
                time.sleep(self.delay)
                if not self.mute:
                    client.sendall(head + body)
        self._end(client, broker)

    def _end(self, *connections: socket.socket) -> None:
        with self._lock:
            for connection in connections:
                if connection in self._connections:
                    self._connections.remove(connection)
                    _reset(connection)


class ProxiedBroker:
    """A broker of the test's own, behind a proxy."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker(folder)
        self.proxy = Proxy(self.broker.port)
        command = self.broker._command
        command[command.index("--advertised-listener-url") + 1] = f"tcp://{self.proxy.address}"

    def start(self) -> None:
        self.broker.start()

    def kill(self) -> None:
        self.proxy.cut()
        self.broker.kill()


def _exactly(connection: socket.socket, size: int) -> bytes:
    """`size` bytes; fewer: the other end is gone."""
    found = bytearray()
    while len(found) < size:
        chunk = connection.recv(size - len(found))
        if not chunk:
            return b""
        found += chunk
    return bytes(found)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
    connection.close()
