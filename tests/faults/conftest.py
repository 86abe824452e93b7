"""Servers for the faults, each of a test's own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.kafka_log import KafkaAddress
from pipelines.kafka_log.topics import TopicPlan, create_topics
from tests.faults.mock_cluster import MockCluster
from tests.faults.proxy import ProxiedBroker
from tests.pipelines.conftest import kafka_address as kafka_address

# kafka-python leaves the sockets of a broker that goes away under it to the garbage collector
LEFT = r"ignore:Exception ignored in. <socket.socket fd=\d+, family=2:pytest.PytestUnraisableExceptionWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"proxied", "mock"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.filterwarnings(LEFT))


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[ProxiedBroker]:
    """A broker behind a proxy, running."""
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = ProxiedBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        gc.collect()  # now, where `LEFT` is heeded, not in whichever test comes later


@pytest.fixture
def new_log(proxied: ProxiedBroker) -> Callable[[int], str]:
    """Makes the topics of a log of so many partitions; its URL."""

    def make(partitions: int) -> str:
        url = f"kafka://{proxied.proxy.address}/traffic"
        create_topics(KafkaAddress.parse(url), TopicPlan(partitions=partitions))
        return url

    return make


@pytest.fixture
def mock() -> Iterator[MockCluster]:
    """A broker of librdkafka's with the topics of a log of two partitions."""
    cluster = MockCluster(**{"traffic": 2, "traffic.dead": 1, "traffic.purges": 1})
    yield cluster
    cluster.close()
    gc.collect()
