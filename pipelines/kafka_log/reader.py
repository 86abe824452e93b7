"""KafkaReader: reads a topic from positions that its caller keeps; no group is ever joined.

An offset here is Kafka's plus one, so that 0 means that nothing of a partition was read. The caller's position is committed
under the group's name, for tools that watch lag, and never read back.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from pipelines.complaints import Complaints
from pipelines.errors import BadTrace, LogUnavailable
from pipelines.kafka_log.address import KafkaAddress
from pipelines.kafka_log.consumer import CALL_MS, Consumer, partitions_of
from pipelines.kafka_log.producer import Producer
from pipelines.kafka_log.purges import Purges
from pipelines.trace import Trace, decode_trace
from pipelines.traffic_log import LoggedTrace, Place, Position

log = logging.getLogger(__name__)

_POLL_MS = 20
_STALLED = 15.0
"""Seconds without a record, short of the end, after which the broker is taken to be away."""
_LOOK_FOR_PARTITIONS = 30.0
_NO_BURIAL = 60.0
_MAX_IDS = 65536
"""Ids of traces remembered, against duplicates."""
_PAGE = 1000


class KafkaReader:
    """A `TrafficReader` of one topic. A topic that does not exist (yet) is an empty log. Thread-safe."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._consumer = Consumer(address)
        self._purges = Purges(address)
        self._producer = Producer(address)
        self._lock = threading.RLock()
        self._partitions: list[TopicPartition] = []
        self._look_at = 0.0
        self._taken: Position = {}
        """Where the consumer stands, as its caller knows it."""
        self._next: Position = {}
        """The same as Kafka counts: what comes next."""
        self._ends: Position = {}
        self._skipped: Position = {}
        """Last record skipped and counted, by partition."""
        self._num_skipped = 0
        self._ids: OrderedDict[str, Place] = OrderedDict()
        self._bury_from = 0.0
        self._complaints = Complaints(log, f"traffic log {address}")

    def read(self, after: Position, limit: int) -> list[LoggedTrace]:
        """Up to `limit` traces that `after` does not cover. Raises LogUnavailable."""
        with self._connected() as consumer:
            self._purges.refresh()
            self._seek(consumer, after)
            found: list[LoggedTrace] = []
            for record in self._records(consumer, limit, found):
                logged = self._sound(record, expiring_at=time.time())
                if logged is not None:
                    found.append(logged)
                    self._taken[record.partition] = logged.place.offset
            return found

    def end(self) -> Position:
        """Of each partition with records. Raises LogUnavailable."""
        with self._connected() as consumer:
            return {partition: end for partition, end in self._known_ends(consumer).items() if end}

    def gone(self, traces: Sequence[LoggedTrace]) -> frozenset[Place]:
        """Expired, purged, or older than what the topic still holds. Raises LogUnavailable."""
        if not traces:
            return frozenset()
        with self._connected() as consumer:
            self._purges.refresh()
            first = consumer.beginning_offsets(self._partitions, timeout_ms=CALL_MS)
            begins = {each.partition: offset for each, offset in first.items()}
            now = time.time()
            return frozenset(
                each.place
                for each in traces
                if each.place.offset <= begins.get(each.place.partition, math.inf)
                or self._purges.gone(each.trace.tenant, each.place)
                or (each.trace.expires_at is not None and each.trace.expires_at <= now)
            )

    def settled(self, position: Position) -> None:
        """Commits the position to the group. What cannot be committed now will be the next time."""
        try:
            with self._connected() as consumer:
                topic = self._address.topic
                offsets = {TopicPartition(topic, at): OffsetAndMetadata(offset, "", -1) for at, offset in position.items()}
                if offsets:
                    consumer.commit_async(offsets)
        except LogUnavailable as error:
            log.debug("position not committed: %s", error)

    def num_skipped(self) -> int:
        """Records passed over as undecodable or expired; one that is met again is not counted again."""
        return self._num_skipped

    def export(self, tenant: str) -> list[Trace]:
        """Everything held of one tenant, expired or not: reads the whole topic. Raises LogUnavailable."""
        with self._connected() as consumer:
            self._purges.refresh()
            self._seek(consumer, {})
            found: OrderedDict[str, Trace] = OrderedDict()
            try:
                for record in self._records(consumer, math.inf, ()):
                    logged = self._sound(record, expiring_at=-math.inf)
                    if logged is not None and logged.trace.tenant == tenant:
                        found.setdefault(logged.trace.trace_id, logged.trace)
            finally:
                self._taken, self._next = {}, {}  # whoever reads next seeks first
            return list(found.values())

    def purge(self, tenant: str) -> int:
        """From now on no reader hands out what there is of the tenant; see `Purges`. Raises LogUnavailable."""
        with self._connected() as consumer:
            count = len(self.export(tenant))
            if count:
                self._purges.add(tenant, dict(self._known_ends(consumer)), self._producer)
            return count

    def close(self) -> None:
        with self._lock:
            self._consumer.drop()
            self._purges.drop()
            self._producer.close()

    @contextmanager
    def _connected(self) -> Iterator[KafkaConsumer]:
        """The consumer, with all partitions assigned. Raises LogUnavailable; then the next use connects anew."""
        with self._lock:
            consumer = self._consumer.get()
            try:
                if time.monotonic() >= self._look_at:
                    self._assign(consumer)
                yield consumer
            except KafkaError as error:
                self._consumer.drop()
                self._purges.drop()
                self._producer.close()
                self._partitions, self._look_at = [], 0.0
                self._taken, self._next, self._ends = {}, {}, {}
                raise LogUnavailable(f"traffic log {self._address}: {type(error).__name__}: {error}") from error

    def _assign(self, consumer: KafkaConsumer) -> None:
        """All partitions of the topic, those that were added since among them."""
        partitions = partitions_of(consumer, self._address.topic)
        if partitions != self._partitions:
            self._partitions = partitions
            consumer.assign(partitions)
            self._taken, self._next = {}, {}
        if partitions:
            self._look_at = time.monotonic() + _LOOK_FOR_PARTITIONS

    def _seek(self, consumer: KafkaConsumer, after: Position) -> None:
        for each in self._partitions:
            wanted = after.get(each.partition, 0)
            if self._taken.get(each.partition) != wanted:
                consumer.seek(each, wanted)
                self._taken[each.partition] = self._next[each.partition] = wanted

    def _records(self, consumer: KafkaConsumer, limit: float, found: Sequence[object]) -> Iterator[ConsumerRecord]:
        """What comes next, until `found` holds `limit` or the log ends. Raises KafkaError where the broker falls silent."""
        if not self._partitions:
            return
        heard = time.monotonic()
        while len(found) < limit:
            room = min(_PAGE, limit - len(found))
            batches = consumer.poll(timeout_ms=_POLL_MS, max_records=int(room))
            for partition, records in batches.items():
                for record in records:
                    self._step(partition.partition, record.offset)
                    yield record
            if batches:
                heard = time.monotonic()
            elif self._at_end(consumer):
                return
            elif time.monotonic() > heard + _STALLED:
                raise KafkaError("the broker says that there is more, and sends nothing")

    def _at_end(self, consumer: KafkaConsumer) -> bool:
        """Whether nothing is left; offsets whose records are deleted, the last ones too, are passed over."""
        for at, end in self._known_ends(consumer).items():
            if self._next.get(at, 0) < end:
                self._pass(at, consumer.position(TopicPartition(self._address.topic, at), timeout_ms=CALL_MS))
            if self._next.get(at, 0) < end:
                return False
        return True

    def _pass(self, partition: int, offset: int) -> None:
        """What comes next in a partition is at `offset`, or will be."""
        expected = self._next.get(partition, 0)
        if expected and offset > expected:
            log.warning(
                "traffic log %s: %d records of partition %d, from offset %d on, were deleted by retention before they were read",
                *(self._address, offset - expected, partition, expected),
            )
        self._next[partition] = max(expected, offset)

    def _step(self, partition: int, offset: int) -> None:
        self._pass(partition, offset)
        expected = self._next[partition]
        if offset < expected:
            log.warning(
                "traffic log %s: partition %d goes on at offset %d, expected %d: the topic was made anew; from its start, then",
                *(self._address, partition, offset, expected),
            )
            self._ends[partition] = 0
        self._next[partition] = offset + 1
        self._ends[partition] = max(self._ends.get(partition, 0), offset + 1)

    def _known_ends(self, consumer: KafkaConsumer) -> Position:
        """What the broker says, which may lag behind what was read already."""
        if self._partitions:
            for each, end in consumer.end_offsets(self._partitions, timeout_ms=CALL_MS).items():
                self._ends[each.partition] = max(self._ends.get(each.partition, 0), end)
        return self._ends

    def _sound(self, record: ConsumerRecord, expiring_at: float) -> LoggedTrace | None:
        """The record as a trace, if it is one, and to be handed out."""
        place = Place(record.offset + 1, record.partition)
        try:
            trace = decode_trace(record.value or b"")
        except BadTrace as error:
            if self._skip(place):
                self._bury(record, str(error))
            return None
        if self._purges.gone(trace.tenant, place) or self._repeated(trace.trace_id, place):
            return None
        if trace.expires_at is not None and trace.expires_at <= expiring_at:
            self._skip(place)
            return None
        return LoggedTrace(place, trace)

    def _skip(self, place: Place) -> bool:
        """Counts a skipped record; False: it was counted before."""
        if place.offset <= self._skipped.get(place.partition, 0):
            return False
        self._skipped[place.partition] = place.offset
        self._num_skipped += 1
        return True

    def _repeated(self, trace_id: str, place: Place) -> bool:
        known = self._ids.get(trace_id)
        if known is not None and known.partition == place.partition and known.offset < place.offset:
            return True
        self._ids[trace_id] = place
        self._ids.move_to_end(trace_id)
        if len(self._ids) > _MAX_IDS:
            self._ids.popitem(last=False)
        return False

    def _bury(self, record: ConsumerRecord, reason: str) -> None:
        """Sends an undecodable record to the dead letters. If that fails, none is sent for a while: each try takes seconds."""
        if time.monotonic() < self._bury_from:
            return
        where = f"{record.topic}/{record.partition}/{record.offset}"
        headers = [*(record.headers or ()), ("reason", reason.encode()), ("from", where.encode())]
        try:
            self._producer.send([(self._address.dead_letters, record.key or b"", record.value or b"", headers)])
        except KafkaError as error:
            self._bury_from = time.monotonic() + _NO_BURIAL
            self._complaints.warn(f"record {where} is skipped ({reason}); {self._address.dead_letters} does not take it: {error}")
        else:
            self._complaints.warn(f"record {where} went to {self._address.dead_letters}: {reason}")
