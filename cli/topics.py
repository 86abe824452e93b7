"""`everdraft topics`: makes the topics of a traffic log on Kafka."""

from __future__ import annotations

from cli.config import Configuration
from cli.errors import UsageError
from pipelines.kafka_log import KafkaAddress
from pipelines.kafka_log.topics import TopicPlan, create_topics
from pipelines.traffic_log import is_kafka


def topics(config: Configuration, plan: TopicPlan) -> None:
    """Makes those that are missing and says which. Raises UsageError where the log is not on Kafka, LogUnavailable."""
    url = config.traffic_url
    if url is None or not is_kafka(url):
        raise UsageError("traffic.url names no broker, expected kafka://host:port/topic")
    address = KafkaAddress.parse(url)
    created = create_topics(address, plan)
    for name in (address.topic, address.dead_letters, address.purges):
        print(f"{name}: {'made' if name in created else 'was there, and is left as it is'}")
