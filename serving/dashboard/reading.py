"""Reading: every counter that the page follows, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.registry import Collector

from serving.api.metrics import Metrics
from serving.messages import Snapshot

Pair = tuple[float, float]

_COUNTERS = {
    "tokens": "vllm:generation_tokens_total",
    "drafts": "vllm:spec_decode_num_drafts_total",
    "draft_tokens": "vllm:spec_decode_num_draft_tokens_total",
    "accepted": "vllm:spec_decode_num_accepted_tokens_total",
}
_POSITIONS = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
_DRAFTED_BY, _ACCEPTED_BY = "everdraft_draft_tokens_total", "everdraft_accepted_tokens_total"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Counters grow; `running`, `waiting` and what is in service are as they stand."""

    at: float
    """Unix seconds."""
    tokens: float = 0.0
    drafts: float = 0.0
    draft_tokens: float = 0.0
    accepted: float = 0.0
    positions: Mapping[int, float] = field(default_factory=dict)
    """Drafts accepted at least to each position."""
    sources: Mapping[tuple[str, str], Pair] = field(default_factory=dict)
    """By source and version: tokens drafted, and those of them accepted."""
    steps: float = 0.0
    """Verification steps, one for each sequence in them."""
    step_tokens: float = 0.0
    """Tokens that these emitted."""
    shadow: Mapping[str, Pair] = field(default_factory=dict)
    """By source: steps scored on the emitted text, and the tokens it would have had in them."""
    served: Mapping[str, Pair] = field(default_factory=dict)
    """Tokens, and seconds of their steps, of requests that were `speculated` for, and of the `probe`s that were not."""
    ssd: Mapping[str, Pair] = field(default_factory=dict)
    """By outcome of the rounds of a draft worker, `hit` or `miss`: rounds, and the tokens they brought."""
    ssd_wait: float = 0.0
    """Seconds that the target waited for it."""
    ssd_build: float = 0.0
    """Seconds that it drafted ahead, and had nothing left to prepare."""
    ssd_idle: float = 0.0
    ssd_late: float = 0.0
    """Replies that came too late, and workers given up."""
    ssd_failures: float = 0.0
    running: int = 0
    waiting: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    num_swaps: int = 0
    last_swap_at: float = 0.0


def read(snapshot: Snapshot, metrics: Metrics, at: float) -> Reading:
    """What engine and HTTP side have counted so far. It takes an eighth of a millisecond, so it is done in the event loop."""
    values = _Samples(metrics)
    counters = snapshot.counters
    accepted = values.by(_ACCEPTED_BY, "source", "version")
    return Reading(
        at=at,
        **{name: values.total(metric) for name, metric in _COUNTERS.items()},
        positions={int(position): count for (position,), count in values.by(_POSITIONS, "position").items()},
        sources={
            (source, version): (drafted, accepted.get((source, version), 0.0))
            for (source, version), drafted in values.by(_DRAFTED_BY, "source", "version").items()
        },
        steps=counters.get("decode_steps", 0.0),
        step_tokens=counters.get("decode_tokens", 0.0),
        shadow=_both(counters, "shadow_steps", "shadow_tokens"),
        served=_both(counters, "served_tokens", "served_seconds"),
        ssd=_both(counters, "ssd_rounds", "ssd_tokens"),
        ssd_wait=counters.get("ssd_wait_seconds", 0.0),
        ssd_build=counters.get("ssd_build_seconds", 0.0),
        ssd_idle=counters.get("ssd_idle_seconds", 0.0),
        ssd_late=counters.get("ssd_late", 0.0),
        ssd_failures=counters.get("ssd_failures", 0.0),
        running=snapshot.num_running,
        waiting=snapshot.num_waiting,
        versions=snapshot.versions,
        generation=snapshot.generation,
        num_swaps=snapshot.num_swaps,
        last_swap_at=snapshot.last_swap_at,
    )


def _both(counters: Mapping[str, float], first: str, second: str) -> dict[str, Pair]:
    """Two of the engine's counters by what follows the colon in their names."""
    return {
        key: (value, counters.get(f"{second}:{key}", 0.0))
        for name, value in counters.items()
        if (key := name.removeprefix(f"{first}:")) != name
    }


class _Samples:
    """The samples of the metrics that are wanted here, and of no others: histograms cost most of a scrape."""

    def __init__(self, metrics: Metrics) -> None:
        wanted = (*_COUNTERS.values(), _POSITIONS, _DRAFTED_BY, _ACCEPTED_BY)
        restricted: Collector = metrics.registry.restricted_registry(wanted)
        self._samples = [sample for family in restricted.collect() for sample in family.samples]

    def total(self, name: str) -> float:
        return sum(sample.value for sample in self._samples if sample.name == name)

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels[label] for label in labels): sample.value for sample in self._samples if sample.name == name
        }
