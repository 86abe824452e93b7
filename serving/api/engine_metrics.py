"""Metrics that are read off the engine and the traffic log when somebody looks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.api.metrics import ENGINE, LABELS
from serving.link import EngineLink
from serving.messages import Snapshot
from serving.traffic import TrafficRecorder

_TRAFFIC = {
    "finished": "Answers finished or aborted.",
    "opted_out": "Answers that nobody may learn from.",
    "unlogged": "Answers finished while no log was configured.",
    "appended": "Traces given to the log.",
    "written": "Traces that are durable.",
    "dropped": "Traces lost before they were durable.",
    "lost": "Traces that were durable and will never reach the broker.",
}

_VLLM = {
    "preemptions": ("vllm:num_preemptions", "Answers that had to give up their pages and come back."),
    "prefix_cache_queries": ("vllm:prefix_cache_queries", "Tokens to be read before answers."),
    "prefix_cache_hits": ("vllm:prefix_cache_hits", "Of them, those whose keys and values were there."),
}
"""The engine's counters that vLLM has a name for."""

_LABEL_NAMES = {
    "shadow_steps": ("source",),
    "shadow_tokens": ("source",),
    "ssd_rounds": ("outcome",),
    "ssd_tokens": ("outcome",),
    "served_tokens": ("how",),
    "served_seconds": ("how",),
    "trial_requests": ("side",),
    "trial_acceptance_length": ("side",),
    "trial_tokens_per_second": ("side",),
    "gain": ("batch", "choices"),
    "arm": ("batch", "choices", "arm"),
    "arm_gain": ("batch", "choices", "arm"),
    "groups": ("batch", "choices", "arm"),
    "group_gain": ("batch", "choices", "arm"),
}
"""What follows the colons in the names of the engine's figures."""


Family = CounterMetricFamily | GaugeMetricFamily


class EngineCollector(Collector):
    """Reads the engine's latest snapshot and the traffic counters at every scrape."""

    def __init__(self, model: str, engine: EngineLink, traffic: TrafficRecorder) -> None:
        self._labels = (model, ENGINE)
        self._engine = engine
        self._traffic = traffic

    def describe(self) -> list[Metric]:
        """Nothing is promised: which metrics there are depends on the engine."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield _gauge("everdraft_engine_up", "1 while the engine runs.", float(self._engine.alive()))
        snapshot = self._engine.snapshot()
        if snapshot is not None:
            yield from self._load(snapshot)
            yield from _service(snapshot)
            yield from _counters(snapshot)
        yield from self._log()

    def _load(self, snapshot: Snapshot) -> Iterator[Metric]:
        used = snapshot.pages_used / snapshot.pages_total if snapshot.pages_total else 0.0
        for name, text, value in (
            ("vllm:num_requests_running", "Requests that take part in steps.", snapshot.num_running),
            ("vllm:num_requests_waiting", "Requests that wait for room.", snapshot.num_waiting),
            ("vllm:kv_cache_usage_perc", "Share of the pages in use, 0 to 1.", used),
        ):
            family = GaugeMetricFamily(name, text, labels=LABELS)
            family.add_metric(self._labels, value)
            yield family
        for key, (name, text) in _VLLM.items():
            counter = CounterMetricFamily(name, text, labels=LABELS)
            counter.add_metric(self._labels, snapshot.counters.get(key, 0.0))
            yield counter

    def _log(self) -> Iterator[Metric]:
        counters = self._traffic.counters()
        for name, text in _TRAFFIC.items():
            yield CounterMetricFamily(f"everdraft_traffic_{name}", text, value=getattr(counters, name))
        yield _gauge("everdraft_traffic_pending", "Traces not yet durable.", counters.pending)
        yield _gauge("everdraft_traffic_spooled", "Traces that are durable here and wait for the broker.", counters.spooled)


def _service(snapshot: Snapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "everdraft_speculator_info",
        "1 for the version in service of each source.",
        labels=("source", "version"),
    )
    for source, version in snapshot.versions.items():
        info.add_metric((source, version), 1)
    yield info
    yield _gauge("everdraft_generation", "Generation of the champion in service.", snapshot.generation)
    yield _gauge("everdraft_speculation_on", "1 while speculation is switched on.", float(snapshot.speculation))
    yield _gauge("everdraft_last_swap_timestamp_seconds", "Unix time of the last swap.", snapshot.last_swap_at)
    yield CounterMetricFamily("everdraft_swaps", "Versions put in service.", value=snapshot.num_swaps)
    yield CounterMetricFamily("everdraft_swap_failures", "Versions that could not be loaded.", value=snapshot.num_swap_failures)
    yield CounterMetricFamily("everdraft_steps", "Steps of the engine.", value=snapshot.num_steps)
    yield CounterMetricFamily("everdraft_step_seconds", "Time spent in steps.", value=snapshot.step_seconds)


def _counters(snapshot: Snapshot) -> Iterator[Metric]:
    """The engine's further counters and gauges: what follows a colon in their names becomes labels."""
    kinds: tuple[tuple[dict[str, float], type[Family]], ...] = (
        ({key: value for key, value in snapshot.counters.items() if key not in _VLLM}, CounterMetricFamily),
        (snapshot.gauges, GaugeMetricFamily),
    )
    for figures, kind in kinds:
        families: dict[tuple[str, int], Family] = {}
        for key, value in figures.items():
            name, *values = key.split(":")
            family = families.get((name, len(values)))
            if family is None:
                labels = _label_names(name, len(values))
                family = kind(f"everdraft_engine_{_legal(name)}", f"The engine's {name}.", labels=labels)
                families[name, len(values)] = family
            family.add_metric(values, value)
        yield from families.values()


def _label_names(name: str, number: int) -> tuple[str, ...]:
    names = _LABEL_NAMES.get(name, ())
    return names if len(names) == number else tuple(f"key{index}" for index in range(number))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _legal(name: str) -> str:
    return re.sub(r"\W", "_", name)
