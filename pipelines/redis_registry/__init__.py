"""The registry on Redis: shared by processes on many machines; every change is one script, done whole or not at all."""

from __future__ import annotations

from pipelines.redis_registry.acts import Acts
from pipelines.redis_registry.address import RedisAddress
from pipelines.redis_registry.presences import Presences
from pipelines.redis_registry.runs import Runs
from pipelines.redis_registry.server import Server
from pipelines.redis_registry.versions import Versions

__all__ = ["RedisAddress", "RedisRegistry"]


class RedisRegistry(Versions, Runs, Presences, Acts):
    """A `Registry` on one Redis server, connected to at the first call."""

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(Server(address))
