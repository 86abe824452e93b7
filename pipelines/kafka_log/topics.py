"""Topics: creates what the log needs on a broker that creates nothing by itself."""

from __future__ import annotations

from dataclasses import dataclass

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from pipelines.errors import LogUnavailable
from pipelines.kafka_log.address import KafkaAddress
from pipelines.kafka_log.records import OVERHEAD

_DEAD_LETTER_DAYS = 30


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How the topics are made. replication: copies, of which at least one fewer must be in step to take a record."""

    partitions: int = 4
    replication: int = 1
    retention_hours: int = 30 * 24
    retention_bytes: int = -1
    """Of each partition; -1: as many as the age allows."""

    def configs(self, address: KafkaAddress) -> dict[str, tuple[int, dict[str, str]]]:
        """Partitions and settings of each topic."""
        limit = {
            "max.message.bytes": str(address.max_record_bytes + OVERHEAD),
            "min.insync.replicas": str(max(1, self.replication - 1)),
        }
        traffic = {
            "cleanup.policy": "delete",
            "compression.type": "zstd",
            "message.timestamp.type": "LogAppendTime",  # retention goes by the broker's clock, whatever a server's says
            "retention.ms": str(self.retention_hours * 3_600_000),
            "retention.bytes": str(self.retention_bytes),
        }
        dead = {"cleanup.policy": "delete", "retention.ms": str(_DEAD_LETTER_DAYS * 86_400_000)}
        return {
            address.topic: (self.partitions, limit | traffic),
            address.dead_letters: (1, limit | dead),
            address.purges: (1, {"cleanup.policy": "compact"}),
        }


def create_topics(address: KafkaAddress, plan: TopicPlan) -> list[str]:
    """Names of the topics that were missing and now exist; what exists is left as it is. Raises LogUnavailable."""
    created = []
    try:
        admin = KafkaAdminClient(**address.client)
        try:
            for name, (partitions, configs) in plan.configs(address).items():
                topic = {"num_partitions": partitions, "replication_factor": plan.replication, "configs": configs}
                try:
                    admin.create_topics({name: topic})
                    created.append(name)
                except TopicAlreadyExistsError:
                    continue
        finally:
            admin.close()
    except KafkaError as error:
        raise LogUnavailable(f"traffic log {address}: {type(error).__name__}: {error}") from error
    return created
