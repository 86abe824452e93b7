"""The traffic log on Kafka: traces go to a spool on disk first and follow to a topic, where any number of readers find them."""

from __future__ import annotations

from pipelines.kafka_log.address import KafkaAddress
from pipelines.kafka_log.reader import KafkaReader
from pipelines.kafka_log.writer import KafkaWriter

__all__ = ["KafkaAddress", "KafkaReader", "KafkaWriter"]
