"""The traffic log on Kafka: traces go to a spool on disk first and follow to a topic, where any number of readers find them."""

from __future__ import annotations

import logging

from pipelines.kafka_log.address import KafkaAddress
from pipelines.kafka_log.reader import KafkaReader
from pipelines.kafka_log.writer import KafkaWriter

# kafka-python speaks of every attempt to reach a broker, several times a second; we say once what it means
logging.getLogger("kafka").setLevel(logging.CRITICAL)

__all__ = ["KafkaAddress", "KafkaReader", "KafkaWriter"]
