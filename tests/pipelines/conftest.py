"""Servers that the tests of the pipes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.kafka_broker import GIVEN, Broker
from tests.servers.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def kafka_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a broker that nobody stops."""
    if GIVEN:
        yield GIVEN
        return
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker.address
    broker.kill()
