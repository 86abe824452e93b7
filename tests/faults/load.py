"""Load: traces appended at a rate that the writer does not decide, and what the calls cost."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pipelines.trace import Trace
from pipelines.traffic_log import LogCounters, TrafficWriter
from tests.pipelines.contract_traffic_log import balanced
from tests.pipelines.records import make_trace

NUM_CONVERSATIONS = 16
_SAMPLE = 0.2
"""Seconds between two looks at the counters."""


class Load:
    """Appends `rate` traces a second while its context lasts."""

    def __init__(self, writer: TrafficWriter, rate: float, **fields: Any) -> None:
        self.ids: list[str] = []
        """Of what was appended."""
        self.taken: list[str] = []
        self.refused = 0
        self.longest = 0.0
        """Seconds of the longest call."""
        self.sampled: list[LogCounters] = []
        self._writer = writer
        self._rate = rate
        self._fields = fields
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._append, self._sample)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert all(balanced(counters) for counters in self.sampled)

    def _append(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            due = begun + len(self.ids) / self._rate
            self._stop.wait(max(0.0, due - time.monotonic()))
            trace = numbered(len(self.ids), **self._fields)
            started = time.monotonic()
            taken = self._writer.append(trace)
            self.longest = max(self.longest, time.monotonic() - started)
            self.ids.append(trace.trace_id)
            if taken:
                self.taken.append(trace.trace_id)
            else:
                self.refused += 1

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE):
            self.sampled.append(self._writer.counters())


def numbered(number: int, prefix: str = "t", **fields: Any) -> Trace:
    """Trace `prefix-number`, in one of a few conversations."""
    return make_trace(f"{prefix}-{number}", conversation=f"{prefix}-c{number % NUM_CONVERSATIONS}", **fields)


def in_order(traces: Iterable[Trace]) -> bool:
    """Whether each conversation's traces come by rising number."""
    by_conversation: defaultdict[str, list[int]] = defaultdict(list)
    for trace in traces:
        by_conversation[trace.conversation].append(int(trace.trace_id.rpartition("-")[2]))
    return all(numbers == sorted(numbers) for numbers in by_conversation.values())
