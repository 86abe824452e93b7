"""MockCluster: the broker that librdkafka brings for tests (PyPI: confluent-kafka): it fails as no sound broker can be asked to.

It lives in this process, and speaks an older Kafka than kafka-python takes for granted: hence `address`, which says so. It knows
neither administration nor groups of several members.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.kafka_log import KafkaAddress
from tests.servers.process import missing

PRODUCE = 0
"""Kind of request, by Kafka's protocol."""
NOT_ENOUGH_REPLICAS = 19
_UNKNOWN_TOPIC = 3
_VERSION = (2, 3)
_PRODUCER = 0
_ARGUMENTS: dict[str, list[Any]] = {
    "cluster_destroy": [],
    "topic_create": [ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
    "partition_delete_records": [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int64],
    "topic_set_error": [ctypes.c_char_p, ctypes.c_int],
    "push_request_errors_array": [ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p],
    "clear_request_errors": [ctypes.c_int16],
}
"""Of functions of the cluster, after the cluster itself."""


class MockCluster:
    """One broker that keeps its records while it is down. topics: partitions by name."""

    def __init__(self, **topics: int) -> None:
        self._library = _library()
        why = ctypes.create_string_buffer(512)
        self._client = self._library.rd_kafka_new(_PRODUCER, None, why, len(why))
        assert self._client, why.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        for name, partitions in topics.items():
            self._call("topic_create", name.encode(), partitions, 1)

    def address(self, topic: str, **settings: Any) -> KafkaAddress:
        """settings: of kafka-python, beside ours."""
        brokers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return KafkaAddress((brokers,), topic, security={"api_version": _VERSION, **settings})

    def forget(self, topic: str) -> None:
        """Answers as if there were no such topic."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), _UNKNOWN_TOPIC)

    def truncate(self, topic: str, partition: int, first: int) -> None:
        """Deletes everything before Kafka's offset `first`, as retention does."""
        self._call("partition_delete_records", topic.encode(), partition, first)

    def fail(self, request: int, error: int, number: int) -> None:
        """The next `number` requests of a kind are answered with an error."""
        errors = (ctypes.c_int * number)(*[error] * number)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, number, errors)

    def relent(self, request: int) -> None:
        """No more errors for requests of a kind."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, request)

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    def _call(self, name: str, *values: Any) -> None:
        error = getattr(self._library, f"rd_kafka_mock_{name}")(self._cluster, *values)
        assert error == 0, f"{name}: {error}"


@cache
def _library() -> Any:
    """librdkafka, as the wheel of confluent-kafka brings it."""
    spec = find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        missing("confluent-kafka")
    assert spec is not None
    assert spec.origin is not None
    found = sorted((Path(spec.origin).parents[1] / "confluent_kafka.libs").glob("librdkafka-*.so*"))
    if not found:
        missing("confluent-kafka with a librdkafka of its own")
    library = ctypes.CDLL(str(found[0]))
    pointer = ctypes.c_void_p
    library.rd_kafka_new.restype = pointer
    library.rd_kafka_new.argtypes = [ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_destroy.argtypes = [pointer]
    library.rd_kafka_mock_cluster_new.restype = pointer
    library.rd_kafka_mock_cluster_new.argtypes = [pointer, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [pointer]
    for name, arguments in _ARGUMENTS.items():
        getattr(library, f"rd_kafka_mock_{name}").argtypes = [pointer, *arguments]
    return library
