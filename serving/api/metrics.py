"""Metrics that the HTTP side measures itself, under vLLM's names beside ours. Counters gain `_total`.

Mean acceptance length = 1 + accepted / drafts: the bonus token is included.
Acceptance rate = accepted / draft tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from serving.api.answer import Answer
from serving.api.stats import num_accepted, request_metrics
from serving.messages import Moved, SourceStep

LABELS = ("model_name", "engine")
ENGINE = "0"
"""One engine for each server."""

MAX_POSITIONS = 32
"""Depths shown one by one; a draft is never deeper."""
MAX_VERSIONS = 32
"""Versions whose series are kept; the longest unused goes first, so that swaps cannot pile up series."""

MAX_DOMAINS = 32
"""As for versions: clients make domains up."""
MAX_NAME = 64
"""Characters of a domain that are shown."""

_TTFT = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
_PER_TOKEN = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
)
_LATENCY = (
    0.1,
    0.3,
    0.5,
    0.8,
    1.0,
    1.5,
    2.0,
    2.5,
    5.0,
    10.0,
    15.0,
    20.0,
    30.0,
    40.0,
    60.0,
    120.0,
    240.0,
    480.0,
)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
_LENGTHS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)


M = TypeVar("M", bound=MetricWrapperBase)


class Metrics:
    """The counters and histograms of one server, in a registry of their own."""

    def __init__(self, model: str) -> None:
        self.registry = CollectorRegistry()
        self._values = {"model_name": model, "engine": ENGINE}
        self._recent = _Recent(MAX_VERSIONS)
        self._drafts = self._counter("vllm:spec_decode_num_drafts", "Steps that verified a draft.")
        self._draft_tokens = self._counter("vllm:spec_decode_num_draft_tokens", "Drafted tokens verified.")
        self._accepted = self._counter("vllm:spec_decode_num_accepted_tokens", "Drafted tokens accepted.")
        self._per_position = self._family(
            "vllm:spec_decode_num_accepted_tokens_per_pos", "Accepted drafted tokens by position.", "position"
        )
        self._prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens processed.")
        self._generation_tokens = self._counter("vllm:generation_tokens", "Tokens generated.")
        self._success = self._family("vllm:request_success", "Finished requests.", "finished_reason")
        self._ttft = self._histogram("vllm:time_to_first_token_seconds", "Time to the first token.", _TTFT)
        self._itl = self._histogram("vllm:inter_token_latency_seconds", "Time between two steps.", _PER_TOKEN)
        self._per_token = self._histogram(
            "vllm:request_time_per_output_token_seconds", "Time per token after the first.", _PER_TOKEN
        )
        self._latency = self._histogram("vllm:e2e_request_latency_seconds", "Time of a request.", _LATENCY)
        self._request_prompt = self._histogram("vllm:request_prompt_tokens", "Prompt tokens.", _TOKENS)
        self._request_generation = self._histogram("vllm:request_generation_tokens", "Generated tokens of a request.", _TOKENS)
        self._max_tokens = self._histogram("vllm:request_params_max_tokens", "max_tokens.", _TOKENS)
        self._by_source = [
            Counter(f"everdraft_{what}_tokens", text, ("source", "version"), registry=self.registry)
            for what, text in (
                ("draft", "Tokens a source had in verified drafts; sources may share a token."),
                ("accepted", "Those of them that were accepted."),
            )
        ]
        self._length = Histogram(
            "everdraft_request_acceptance_length",
            "Mean acceptance length of a request, the bonus token included.",
            buckets=_LENGTHS,
            registry=self.registry,
        )
        self._domains = _Recent(MAX_DOMAINS)
        self._by_domain = [
            Counter(f"everdraft_domain_{what}", text, ("domain",), registry=self.registry)
            for what, text in (
                ("tokens", "Tokens of verification steps, by the domain that requests name."),
                ("steps", "Verification steps, by the domain that requests name."),
            )
        ]
        self._by_acceptance = [
            Counter(f"everdraft_acceptance_{what}", text, ("acceptance",), registry=self.registry)
            for what, text in (
                ("answers", "Finished or aborted answers, by whether they are exact or lossy (typical acceptance)."),
                ("tokens", "Tokens of their verification steps."),
                ("steps", "Their verification steps."),
            )
        ]
        for family in self._by_acceptance:
            family.labels("exact")
        self._responses = Counter("everdraft_http_responses", "HTTP responses.", ("route", "status"), registry=self.registry)

    def moved(self, answer: Answer, moved: Moved, since_last: float) -> None:
        """Counts one step of an answer. since_last: seconds since its last step, or since it arrived."""
        if len(answer.moves) == 1:
            self._ttft.observe(since_last)
            self._prompt_tokens.inc(len(answer.request.prompt_ids))
        else:
            self._itl.observe(since_last)
        self._generation_tokens.inc(len(moved.token_ids))
        if moved.nodes > 0:
            self._drafted(moved)

    def finished(self, answer: Answer, now: float) -> None:
        """Counts an answer at its end, be it an abort."""
        self._success.labels(**self._values, finished_reason=answer.finish_reason or "abort").inc()
        self._latency.observe(now - answer.arrived_at)
        self._request_prompt.observe(len(answer.request.prompt_ids))
        self._request_generation.observe(answer.num_emitted)
        self._max_tokens.observe(answer.request.max_tokens)
        if answer.first_at is not None and answer.last_at is not None and len(answer.output_ids) > 1:
            self._per_token.observe((answer.last_at - answer.first_at) / (len(answer.output_ids) - 1))
        acceptance = "lossy" if answer.request.lossy else "exact"
        for family, count in zip(self._by_acceptance, (1, *_stepped(answer.moves)), strict=True):
            family.labels(acceptance).inc(count)
        if answer.origin.domain:
            self._by(answer.origin.domain[:MAX_NAME], answer.moves)
        length = request_metrics(answer.moves).speculative_decoding.mean_acceptance_length
        if length is not None:
            self._length.observe(length)

    def responded(self, route: str, status: int) -> None:
        self._responses.labels(route=route, status=str(status)).inc()

    def _drafted(self, moved: Moved) -> None:
        accepted = num_accepted(moved)
        self._drafts.inc()
        self._draft_tokens.inc(moved.nodes)
        self._accepted.inc(accepted)
        for position in range(min(accepted, MAX_POSITIONS)):
            self._per_position.labels(**self._values, position=str(position)).inc()
        for source in moved.sources:
            self._credit(source)

    def _credit(self, source: SourceStep) -> None:
        labels = (source.source, source.version)
        gone = self._recent.use(labels)
        for family, count in zip(self._by_source, (sum(source.proposed), sum(source.accepted)), strict=True):
            if gone is not None:
                family.remove(*gone)
            family.labels(*labels).inc(count)

    def _by(self, domain: str, moves: Sequence[Moved]) -> None:
        gone = self._domains.use((domain,))
        for family, count in zip(self._by_domain, _stepped(moves), strict=True):
            if gone is not None:
                family.remove(*gone)
            family.labels(domain).inc(count)

    def _counter(self, name: str, text: str) -> Counter:
        return self._bound(Counter(name, text, LABELS, registry=self.registry))

    def _family(self, name: str, text: str, label: str) -> Counter:
        return Counter(name, text, (*LABELS, label), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return self._bound(Histogram(name, text, LABELS, buckets=buckets, registry=self.registry))

    def _bound(self, metric: M) -> M:
        return metric.labels(**self._values)


def _stepped(moves: Sequence[Moved]) -> tuple[int, int]:
    """Tokens of verification steps, and those steps."""
    verified = [moved for moved in moves if moved.nodes >= 0 and moved.token_ids]
    return sum(len(moved.token_ids) for moved in verified), len(verified)


class _Recent:
    """The most recently used label values."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def use(self, labels: tuple[str, ...]) -> tuple[str, ...] | None:
        """Notes a use; the labels that have to go for it, if any."""
        self._seen[labels] = None
        self._seen.move_to_end(labels)
        return self._seen.popitem(last=False)[0] if len(self._seen) > self._limit else None
