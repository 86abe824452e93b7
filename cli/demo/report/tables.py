"""The report's tables."""

from __future__ import annotations

from collections.abc import Sequence

from cli.demo.figures import HeadsRow, TrafficRow, VersionRow
from cli.demo.report.html import NONE, count, length, section, share, signed, table, times


def heads_table(rows: Sequence[HeadsRow]) -> str:
    """Static against adaptive heads by domain and temperature."""
    cells = [
        (
            row.domain,
            "greedy" if row.temperature == 0 else f"{row.temperature:g}",
            times(row.everything),
            times(row.without_looping),
            length(row.everything.static if row.everything else None),
            length(row.everything.adaptive if row.everything else None),
            length(row.served),
            str(row.num_answers),
            share(row.num_looping, row.num_answers),
        )
        for row in rows
    ]
    columns = (
        "domain",
        "temperature",
        "gain (95 %)",
        "without looping",
        "static",
        "adaptive",
        "all sources",
        "answers",
        "looping",
    )
    note = (
        "Fresh prompts, sent after the traffic and never learnt from. Tokens per step of the heads alone, "
        "suffix tree off, as shipped and as they are now, on the same answers; then of all sources together."
    )
    return section("The heads alone, by domain", note, table(columns, cells, 2))


def traffic_table(rows: Sequence[TrafficRow]) -> str:
    """What was sent, by phase and domain."""
    cells = [
        (
            row.phase,
            row.domain,
            count(row.num_requests),
            str(row.num_failed),
            count(row.num_tokens),
            NONE if row.median_latency is None else f"{row.median_latency * 1000:.0f} ms",
            length(row.served),
            share(row.num_looping, row.num_requests),
        )
        for row in rows
    ]
    columns = (
        "phase",
        "domain",
        "requests",
        "failed",
        "tokens",
        "median latency",
        "tokens per step",
        "looping",
    )
    return section("The traffic, by domain", "Everything that was sent over HTTP.", table(columns, cells, 2))


def versions_table(rows: Sequence[VersionRow]) -> str:
    """Versions of the heads and what the gate said of them."""
    cells = [
        (
            row.version.version[:12],
            (row.version.parent or NONE)[:12],
            _fate(row),
            count(row.version.num_traces),
            signed(row.version.gain),
            signed(row.version.gain_lower),
            NONE if row.in_service_at is None else f"request {count(row.in_service_at)}",
        )
        for row in rows
    ]
    columns = ("version", "parent", "fate", "traces learnt from", "gain", "at least", "in service from")
    note = (
        "A candidate is judged against the champion on held-out conversations and published only if the "
        "lower 99 % bound on its gain, in tokens per step, is above zero."
    )
    return section("Versions of the heads", note, table(columns, cells, 3))


def _fate(row: VersionRow) -> str:
    if row.version.gain is None:
        return "shipped"
    return "published" if row.version.published else "turned away"
