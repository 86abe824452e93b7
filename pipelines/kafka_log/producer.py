"""Producer: sends a batch and says which records are not in the topic. For a thread that may wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from pipelines.kafka_log.address import KafkaAddress
from pipelines.kafka_log.records import OVERHEAD, Headers

log = logging.getLogger(__name__)

Record = tuple[str, bytes, bytes, Headers]
"""Topic, key, value, headers."""

_BATCH_BYTES = 256 << 10
_LINGER_MS = 5
_DELIVERY_MS = 20_000
"""Milliseconds after which a record that no broker took is given back."""
_ENDING = 2.0
"""Seconds in which a thread of kafka-python's does what it is told, or what is due."""
_HOPELESS = (MessageSizeTooLargeError, RecordListTooLargeError)


class Producer:
    """Connects when first needed. After a failure it starts anew, so that nothing of a batch given back is sent behind our back;
    what a broker took without our hearing of it is sent twice: readers know traces by their id."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._producer: KafkaProducer | None = None

    def send(self, records: Sequence[Record]) -> list[int]:
        """Waits until all are acknowledged. Returns the indices of those that are too large for the broker ever to take.

        Raises KafkaError when the others did not arrive, all or some of them.
        """
        producer = self._connected()
        deadline = time.monotonic() + _DELIVERY_MS / 1000 + _ENDING
        try:
            futures = [producer.send(topic, value, key, headers) for topic, key, value, headers in records]
            for future in futures:  # not `flush`, which waits as long again for every batch
                with suppress(KafkaError):
                    future.get(max(0.0, deadline - time.monotonic()))
            hopeless = [index for index, future in enumerate(futures) if isinstance(future.exception, _HOPELESS)]
            for future in futures:
                if not future.is_done:
                    raise KafkaError("not acknowledged in time")
                if future.failed() and not isinstance(future.exception, _HOPELESS):
                    raise future.exception
        except KafkaError:
            self.close()
            raise
        return hopeless

    def close(self) -> None:
        """Ends the connection, its thread and what it has not sent, waiting for no broker."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer._sender.force_close()  # `close` alone fails over what is not sent, and leaves the thread to send it later
            producer._sender.join(_ENDING)
            with suppress(KafkaError):
                producer.close(timeout=0)

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            limit = self._address.max_record_bytes + OVERHEAD
            self._producer = KafkaProducer(
                **self._address.client,
                acks="all",
                compression_type="zstd",
                linger_ms=_LINGER_MS,
                batch_size=_BATCH_BYTES,
                max_request_size=limit,
                max_block_ms=self._address.client["request_timeout_ms"],
                delivery_timeout_ms=_DELIVERY_MS,
            )
        return self._producer
