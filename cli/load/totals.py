"""Totals: what came of the traffic, as a line for people and as figures for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from cli.demo.traffic import Exchange


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Of a run, or of a stretch of it."""

    seconds: float
    """From the first request to the last answer."""
    num_sent: int
    num_failed: int
    num_skipped: int
    """Not sent, since too many were under way."""
    requests_per_second: float
    """Sent, over the time in which requests were sent."""
    tokens_per_second: float
    latency_median: float
    """Seconds from sending to the last byte."""
    latency_95: float
    tokens_per_step: float
    """Mean acceptance length, the bonus token included."""
    by_domain: dict[str, int]
    """Requests sent."""


class Totals:
    """Takes exchanges in as they end. Times are in seconds after the start."""

    def __init__(self) -> None:
        self._latencies: list[float] = []
        self._by_domain: Counter[str] = Counter()
        self._num_failed = self._num_tokens = self._num_stepped = self._num_steps = 0
        self._ended = 0.0
        self.sent_at: list[float] = []
        """When each request was sent."""
        self.last_error = ""

    def sent(self, at: float) -> None:
        self.sent_at.append(at)

    def take(self, exchange: Exchange, at: float) -> None:
        self._by_domain[exchange.domain] += 1
        self._ended = max(self._ended, at)
        if exchange.error is not None:
            self._num_failed += 1
            self.last_error = exchange.error
            return
        self._latencies.append(exchange.latency)
        self._num_tokens += len(exchange.output_ids)
        self._num_stepped += exchange.num_stepped
        self._num_steps += exchange.num_steps

    def summary(self, num_skipped: int = 0) -> Summary:
        span = self.sent_at[-1] - self.sent_at[0] if len(self.sent_at) > 1 else 0.0
        return Summary(
            seconds=self._ended,
            num_sent=len(self.sent_at),
            num_failed=self._num_failed,
            num_skipped=num_skipped,
            requests_per_second=(len(self.sent_at) - 1) / span if span else 0.0,
            tokens_per_second=self._num_tokens / self._ended if self._ended else 0.0,
            latency_median=_quantile(self._latencies, 0.5),
            latency_95=_quantile(self._latencies, 0.95),
            tokens_per_step=self._num_stepped / self._num_steps if self._num_steps else 1.0,
            by_domain=dict(self._by_domain),
        )


def line(summary: Summary) -> str:
    """For people."""
    domains = ", ".join(f"{name} {count}" for name, count in sorted(summary.by_domain.items()))
    skipped = f", {summary.num_skipped} skipped" if summary.num_skipped else ""
    return (
        f"{summary.seconds:.0f} s: {summary.num_sent} requests ({summary.num_failed} failed{skipped}), "
        f"{summary.requests_per_second:.2f} a second, {summary.tokens_per_second:.0f} tokens/s, "
        f"latency {summary.latency_median:.2f} s (95 %: {summary.latency_95:.2f}), "
        f"{summary.tokens_per_step:.2f} tokens a step; {domains or 'nothing yet'}"
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """0 where there are none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
