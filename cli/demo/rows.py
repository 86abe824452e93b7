"""The rows of the report's tables, from what was recorded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from cli.demo.figures import HeadsRow, TrafficRow, VersionRow
from cli.demo.gains import Pair, gain
from cli.demo.looping import is_looping
from cli.demo.recorder import Phase
from cli.demo.stack import Version
from cli.demo.traffic import Exchange


def heads_rows(pairs: Sequence[Pair], fresh: Sequence[Exchange], domains: Sequence[str]) -> tuple[HeadsRow, ...]:
    """One row for each domain and temperature that has answers, the traffic's temperature before 0."""
    temperatures = sorted({pair.temperature for pair in pairs}, reverse=True)
    keys = {(pair.domain, pair.temperature) for pair in pairs}
    return tuple(
        _heads_row(
            [pair for pair in pairs if (pair.domain, pair.temperature) == key],
            [exchange for exchange in fresh if (exchange.domain, exchange.temperature) == key],
        )
        for key in itertools.product(domains, temperatures)
        if key in keys
    )


def traffic_rows(phases: Sequence[Phase]) -> tuple[TrafficRow, ...]:
    """One row for each domain of each phase."""
    return tuple(
        _traffic_row(str(number), domain, [e for e in phase.exchanges if e.domain == domain])
        for number, phase in enumerate(phases, start=1)
        for domain in phase.domains
    )


def version_rows(versions: Sequence[Version], in_service_at: Mapping[str, int]) -> tuple[VersionRow, ...]:
    """Every version with the moment it went into service."""
    return tuple(VersionRow(version, in_service_at.get(version.version)) for version in versions)


def _heads_row(pairs: Sequence[Pair], fresh: Sequence[Exchange]) -> HeadsRow:
    sound = [pair for pair in pairs if not pair.looping]
    return HeadsRow(
        domain=pairs[0].domain,
        temperature=pairs[0].temperature,
        num_answers=len(pairs),
        num_looping=len(pairs) - len(sound),
        everything=gain(pairs),
        without_looping=gain(sound),
        served=_served(fresh),
    )


def _traffic_row(phase: str, domain: str, exchanges: Sequence[Exchange]) -> TrafficRow:
    answered = [exchange for exchange in exchanges if exchange.error is None]
    return TrafficRow(
        phase=phase,
        domain=domain,
        num_requests=len(exchanges),
        num_failed=len(exchanges) - len(answered),
        num_tokens=sum(len(exchange.output_ids) for exchange in answered),
        num_looping=sum(is_looping(exchange.output_ids) for exchange in answered),
        median_latency=median([exchange.latency for exchange in answered]) if answered else None,
        served=_served(answered),
    )


def _served(exchanges: Iterable[Exchange]) -> float | None:
    """Mean acceptance length of all sources as they were served."""
    counts = [(exchange.num_stepped, exchange.num_steps) for exchange in exchanges]
    steps = sum(steps for _, steps in counts)
    return sum(tokens for tokens, _ in counts) / steps if steps else None
