"""Consumer: a kafka-python consumer that nobody waits for twice.

Its constructor blocks for as long as no broker answers. It runs on a thread of its own, so that whoever reads while the broker
is away is told so at once, and a trainer can go on with what it has.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from pipelines.errors import LogUnavailable
from pipelines.kafka_log.address import KafkaAddress

_PATIENCE = 15.0
"""Seconds for which the first to ask waits."""
_FETCH_WAIT_MS = 10
CALL_MS = 10_000
"""Milliseconds of one question to the broker."""


class Consumer:
    """Connects when first needed, and again after `drop`."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._coming: Future[KafkaConsumer] | None = None
        self._patience = _PATIENCE

    def get(self) -> KafkaConsumer:
        """Raises LogUnavailable while there is no connection."""
        if self._coming is None:
            self._coming = Future()
            threading.Thread(target=self._connect, args=(self._coming,), name="kafka-connect", daemon=True).start()
        try:
            consumer = self._coming.result(self._patience)
        except TimeoutError:
            self._patience = 0.0
            raise LogUnavailable(f"traffic log {self._address}: no broker answers yet") from None
        except KafkaError as error:
            self._coming, self._patience = None, 0.0
            raise LogUnavailable(f"traffic log {self._address}: {type(error).__name__}: {error}") from error
        self._patience = _PATIENCE
        return consumer

    def drop(self) -> None:
        """Closes the connection, waiting for nobody."""
        coming, self._coming = self._coming, None
        self._patience = 0.0
        if coming is not None:
            coming.add_done_callback(_close)

    def _connect(self, coming: Future[KafkaConsumer]) -> None:
        clients: list[KafkaNetClient] = []

        def client(**settings: Any) -> KafkaNetClient:
            clients.append(KafkaNetClient(**settings))
            return clients[-1]

        try:
            coming.set_result(
                KafkaConsumer(
                    **self._address.client,
                    group_id=self._address.group,
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                    allow_auto_create_topics=False,
                    fetch_max_wait_ms=_FETCH_WAIT_MS,
                    max_partition_fetch_bytes=8 << 20,
                    metadata_max_age_ms=30_000,
                    kafka_client=client,
                )
            )
        except BaseException as error:
            for each in clients:
                each.close()  # a constructor that fails leaves its thread running, which holds its sockets
            coming.set_exception(error if isinstance(error, KafkaError) else KafkaError(str(error)))


def partitions_of(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    """In order; empty: there is no such topic."""
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]


def _close(coming: Future[KafkaConsumer]) -> None:
    if coming.exception() is None:
        threading.Thread(target=lambda: coming.result().close(timeout_ms=0), name="kafka-close", daemon=True).start()
