"""Metrics: what the trainer says to Prometheus, and to whoever asks whether it is well."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipelines.registry import Presence

_COUNTERS = {
    "step": ("steps", "Steps of the optimiser."),
    "skipped_steps": ("steps_skipped", "Steps that were not finite."),
    "traces": ("traces_read", "Traces read from the log."),
    "studied": ("traces_studied", "Of those read: studied."),
    "held_out": ("traces_held_out", "Of those read: held out for the gate."),
    "duplicates": ("traces_duplicate", "Of those read: delivered before."),
    "foreign": ("traces_foreign", "Of those read: of another target or tokenizer."),
    "withheld": ("traces_withheld", "Of those read: consent was for another scope only."),
    "lossy": ("traces_lossy", "Of those read: the text is not the target's own."),
    "short": ("traces_short", "Of those read: too short or too long to learn from."),
    "judgements": ("judgements", "Candidates that came before the gate."),
    "published": ("published", "Candidates that passed it and became champion at once."),
    "idle_seconds": ("seconds_idle", "Seconds of one thread used while the server was idle."),
    "guaranteed_seconds": ("seconds_guaranteed", "Seconds of one thread used while the server was busy."),
    "alone_seconds": ("seconds_alone", "Seconds of one thread used while no server ran."),
    "rested_seconds": ("seconds_rested", "Seconds handed back: no gain in sight, or everything learnt."),
}
_GAUGES = {
    "loss": ("loss", "Of the latest step."),
    "lag": ("traffic_lag", "Offsets between what was read and the end of the log."),
    "held_out_now": ("held_out_conversations", "Conversations that the next judgement may use."),
    "freshness_seconds": ("freshness_seconds", "Age of the newest trace learnt from."),
    "last_gain": ("last_gain", "Gain, in tokens per step, at the latest judgement."),
    "last_gain_lower": ("last_gain_lower", "Lower bound on that gain."),
}


class TrainerCollector(Collector):
    """Reads what the trainer said of itself last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._presence: Presence | None = None

    def says(self, presence: Presence) -> None:
        with self._lock:
            self._presence = presence

    def describe(self) -> list[Metric]:
        """Nothing is promised before the trainer has spoken."""
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            presence = self._presence
        if presence is None:
            return
        figures = presence.figures
        alive = float(time.time() <= presence.at + presence.ttl)
        yield GaugeMetricFamily("everdraft_trainer_up", "1 while the trainer gives word of itself.", value=alive)
        for name, (metric, text) in _COUNTERS.items():
            yield CounterMetricFamily(f"everdraft_trainer_{metric}", text, value=figures.get(name, 0.0))
        for name, (metric, text) in _GAUGES.items():
            yield GaugeMetricFamily(f"everdraft_trainer_{metric}", text, value=figures.get(name, 0.0))
        activity = GaugeMetricFamily("everdraft_trainer_activity", "1 for what the trainer does.", labels=("activity",))
        activity.add_metric((presence.state.partition(";")[0].partition(",")[0],), 1.0)
        yield activity
        info = GaugeMetricFamily("everdraft_trainer_info", "1, with what the weights descend from.", labels=("parent",))
        info.add_metric((presence.version or "",), 1.0)
        yield info


class MetricsServer:
    """`/metrics` on a thread of its own. Raises OSError when the port is taken."""

    def __init__(self, collector: TrainerCollector, host: str, port: int) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        self._server: WSGIServer
        self._server, self._thread = start_http_server(port, host, registry)

    @property
    def port(self) -> int:
        return self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
