"""Purges: which tenants' traces are gone, and up to where.

Kafka deletes by age and size alone. A purge is therefore a record in a small compacted topic beside the traffic: from then on no
reader hands out what the tenant had before it. The bytes themselves go when the topic's retention comes round.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from pipelines.errors import LogUnavailable
from pipelines.kafka_log.address import KafkaAddress
from pipelines.kafka_log.consumer import CALL_MS, Consumer, partitions_of
from pipelines.kafka_log.producer import Producer
from pipelines.traffic_log import Place, Position, covers

_REFRESH = 1.0
"""Seconds between two looks."""
_POLL_MS = 200
_decoder = msgspec.json.Decoder(Position)


class Purges:
    """Kept current by `refresh`."""

    def __init__(self, address: KafkaAddress) -> None:
        self._topic = address.purges
        self._address = address
        self._consumer = Consumer(address)
        self._known: dict[str, Position] = {}
        self._assigned = False
        self._next_look = 0.0

    def refresh(self) -> None:
        """Takes in what others purged. Raises LogUnavailable, KafkaError."""
        if time.monotonic() < self._next_look:
            return
        consumer = self._consumer.get()
        partitions = partitions_of(consumer, self._topic)
        if partitions:
            if not self._assigned:
                consumer.assign(partitions)
                consumer.seek_to_beginning(*partitions)
                self._assigned = True
            ends = consumer.end_offsets(partitions, timeout_ms=CALL_MS)
            self._take(consumer, {each: ends[each] for each in partitions})
        self._next_look = time.monotonic() + _REFRESH

    def gone(self, tenant: str, place: Place) -> bool:
        return covers(self._known.get(tenant, {}), place)

    def add(self, tenant: str, position: Position, producer: Producer) -> None:
        """Everything of a tenant up to `position` is gone. Raises LogUnavailable, KafkaError."""
        if not partitions_of(self._consumer.get(), self._topic):
            raise LogUnavailable(f"traffic log {self._address}: topic {self._topic} is missing: `everdraft topics` creates it")
        producer.send([(self._topic, tenant.encode(), msgspec.json.encode(position), [])])
        self._known[tenant] = position

    def drop(self) -> None:
        """Forgets the connection, not what is known."""
        self._consumer.drop()
        self._assigned = False
        self._next_look = 0.0

    def _take(self, consumer: KafkaConsumer, ends: Mapping[object, int]) -> None:
        deadline = time.monotonic() + CALL_MS / 1000
        while any(consumer.position(each, timeout_ms=CALL_MS) < end for each, end in ends.items()):
            for records in consumer.poll(timeout_ms=_POLL_MS).values():
                for record in records:
                    self._learn(record)
            if time.monotonic() > deadline:
                raise KafkaError(f"topic {self._topic} cannot be read")

    def _learn(self, record: ConsumerRecord) -> None:
        try:
            self._known[record.key.decode()] = _decoder.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError):
            return  # not ours
