"""The consumer's connections."""

from __future__ import annotations

import random
import threading

import pytest

from pipelines.errors import LogUnavailable
from pipelines.kafka_log import KafkaAddress
from pipelines.kafka_log.consumer import Consumer
from tests.servers.process import free_port
from tests.wait import wait_until


def test_connections_that_fail_leave_no_thread_and_the_random_numbers_of_others_alone() -> None:
    nobody = KafkaAddress((f"127.0.0.1:{free_port()}",), "traffic", security={"bootstrap_timeout_ms": 100})
    consumer = Consumer(nobody)
    before, drawn = threading.active_count(), random.getstate()
    for _ in range(3):
        consumer._patience = 10.0  # whoever asks again waits as well
        with pytest.raises(LogUnavailable, match="bootstrap"):
            consumer.get()
    wait_until(lambda: threading.active_count() == before, 5.0)
    assert random.getstate() == drawn, "see tests/conftest.py"
