"""Server: questions and scripts to Redis, and the names of the keys; Part: a part of the registry that uses it.

All keys carry one hash tag, `{prefix}`, so that on a cluster they lie together and one script may change several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipelines.errors import RegistryUnavailable
from pipelines.redis_registry.address import RedisAddress
from pipelines.registry import Slot

_SCRIPTS = Path(__file__).parent


class Server:
    """One client, which keeps a pool of connections. Thread-safe."""

    def __init__(self, address: RedisAddress) -> None:
        self.address = address
        self.client: redis.Redis = redis.Redis(
            host=address.host,
            port=address.port,
            db=address.database,
            socket_timeout=address.timeout,
            socket_connect_timeout=address.timeout,
            health_check_interval=15,
            # once more at once, for a connection that the server closed meanwhile; who does not answer is not asked again here
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            **address.client,
        )
        self._scripts: dict[str, Any] = {}

    def key(self, name: str, slot: Slot | None = None) -> str:
        """`{prefix}:name`, or that of a slot."""
        key = f"{{{self.address.prefix}}}:{name}"
        return key if slot is None else f"{key}:{slot_name(slot)}"

    def run(self, script: str, keys: list[str], *arguments: Any) -> Any:
        """Runs `<script>.lua`. Raises RegistryUnavailable."""
        if script not in self._scripts:
            self._scripts[script] = self.client.register_script(_source(script))
        with self.asking():
            return self._scripts[script](keys=keys, args=list(arguments))

    def ask(self, question: Callable[[redis.Redis], Any]) -> Any:
        """The answer, in bytes. Raises RegistryUnavailable."""
        with self.asking():
            return question(self.client)

    @contextmanager
    def asking(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise RegistryUnavailable(f"registry {self.address}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        self.client.close()


class Part:
    """What the parts of the registry share."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def close(self) -> None:
        self._server.close()


def slot_name(slot: Slot) -> str:
    """Unique, and readable in keys."""
    return msgspec.json.encode([slot.target, slot.kind, slot.scope]).decode()


def slot_of(name: bytes) -> Slot:
    target, kind, scope = msgspec.json.decode(name, type=tuple[str, str, str])
    return Slot(target=target, kind=kind, scope=scope)


@cache
def _source(script: str) -> str:
    """What all scripts share comes first."""
    return (_SCRIPTS / "common.lua").read_text() + (_SCRIPTS / f"{script}.lua").read_text()
