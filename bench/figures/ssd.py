"""SSD: a draft worker on one core beside the target on the other, against drafting and verifying in turns, and no drafts.

The premise of SSD is that draft and target have devices of their own; here these are the two cores. Two targets: the one that
is served, and a *cost-true* one, which has thirteen times its layers, ten times its work, and the same scores to the last bit:
a draft of eight million weights is a sixteenth of it. That draft began as three of the target's layers, and learnt the target's
answers to training prompts of the same domains.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
import numpy as np

from bench.context import Bench
from bench.errors import BenchError
from bench.figures import ssd_swaps
from bench.pairs import interleave
from bench.ratios import Ratio, ratio_of_sums
from bench.results import Goal, Measure, Trainer
from bench.rig import Ask
from bench.sizes import TEMPERATURES
from bench.speed import speed_measures
from bench.ssd_school import drafted_for
from bench.ssd_sides import Side, config_of, cost_true, cost_true_draft
from models.decoder import Decoder
from models.draft import DraftModel
from speculator.ssd.fanout import Policy

DOMAINS = ("sql", "math", "dialogue", "code")
_TIMES = 13
_DRAFT_TIMES = 2
"""Of the draft's layers, so that a pass of it costs a tenth of one of the cost-true target, as one billion weights beside eight
do. Its drafts stay the same."""
_LOOKAHEAD, _FAN_OUT = 4, 24
_MOST_AHEAD, _MOST_FORESEEN = 8, 48
"""Tokens and outcomes that SSD may prepare where it chooses for itself; the synchronous draft is measured at this length too."""

ONE = Goal(
    name="ssd-one",
    title="SSD against the synchronous draft, one core for the target in both, cost-true target",
    at_least=1.2,
    aim=1.5,
)
BOTH = Goal(name="ssd-both", title="SSD (1 + 1 cores) against the synchronous draft with both cores", at_least=1.0, aim=1.2)
PLAIN = Goal(name="ssd-plain", title="SSD against plain decoding, one core for the target in both", at_least=2.0, aim=3.5)
HITS = Goal(name="ssd-hits", title="outcomes foreseen, at 24 prepared for each and a lookahead of 4", at_least=0.75, aim=0.9)
FAN = Goal(
    name="ssd-fan-out", title="outcomes foreseen, fan-out as measured less uniform, temperature 0.8", at_least=0.02, aim=0.08
)
GOALS = (ONE, BOTH, PLAIN, HITS, FAN, ssd_swaps.SWAPPED)


@dataclass(frozen=True, slots=True)
class _Rival:
    goal: Goal
    what: str
    side: Side
    judged: bool


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("one core only: draft and target cannot have one each")
    domains = [domain for domain in DOMAINS if domain in bench.supply.domains] or list(bench.supply.domains)
    draft = drafted_for(bench, domains)
    settings = bench.house.settings
    wide = cost_true(settings.target, settings.revision, config_of(settings.target, settings.revision), _TIMES)
    for decoder, name in ((wide, "cost-true target"), (bench.house.loaded.decoder, "bundled target")):
        yield from _speeds(bench, decoder, name, draft, domains, cores, judged=True)
        yield from _swapped(bench, decoder, name, draft, domains, cores)
    yield from _speeds(
        bench, wide, "cost-true target and draft", cost_true_draft(draft, _DRAFT_TIMES), domains, cores, judged=False
    )
    yield from _fan_outs(bench, wide, draft, domains, cores)


def _speeds(
    bench: Bench, decoder: Decoder, name: str, draft: DraftModel, domains: list[str], cores: list[int], *, judged: bool
) -> Iterator[Measure]:
    one, both, costly = cores[:1], cores[:2], decoder is not bench.house.loaded.decoder
    with ExitStack() as closing:

        def side(*args: object, **kwargs: object) -> Side:
            made = Side(decoder, draft, *args, **kwargs)  # type: ignore[arg-type]
            closing.callback(made.close)
            return made

        ours = side("ssd", cores=one, worker=cores[1:2], lookahead=_MOST_AHEAD, fan_out=_MOST_FORESEEN, adaptive=True)
        rivals = []
        for goal, where, its, counts in ((ONE, "one core", one, costly), (BOTH, "both cores", both, True)):
            for kind, ahead in (("sync", _LOOKAHEAD), ("sync", _MOST_AHEAD), ("tree", _MOST_AHEAD)):
                what = f"against sync {'trees' if kind == 'tree' else 'chains'} of {ahead} nodes, {where}, {name}"
                rivals.append(_Rival(goal, what, side(kind, cores=its, lookahead=ahead), judged and counts))
        for where, its, counts in (("one core", one, True), ("both cores", both, False)):
            rivals.append(_Rival(PLAIN, f"against plain, {where}, {name}", side("plain", cores=its), judged and counts))
        ours.await_worker(bench.supply.mixed(1, domains))
        assert ours.ssd is not None
        for temperature in TEMPERATURES:
            ours.ssd.counters.clear()
            for rival in rivals:
                batches = bench.batches(bench.sizes.ssd_pairs, bench.sizes.ssd_each, domains, temperature)
                pairs = interleave(batches[0], batches[1:], ours.run, rival.side.run, bench.judge)
                for each in speed_measures(rival.goal, rival.what, pairs, temperature=temperature, domain="+".join(domains)):
                    yield each if rival.judged else _context(each)
            yield _hits(f"{name}, lookahead and fan-out its own", ours, temperature, domains, judged=False)


def _swapped(
    bench: Bench, decoder: Decoder, name: str, draft: DraftModel, domains: list[str], cores: list[int]
) -> Iterator[Measure]:
    side = Side(
        decoder,
        draft,
        "ssd",
        cores=cores[:1],
        worker=cores[1:2],
        lookahead=_MOST_AHEAD,
        fan_out=_MOST_FORESEEN,
        adaptive=True,
    )
    try:
        side.await_worker(bench.supply.mixed(1, domains))
        yield from ssd_swaps.measure(bench, side, draft, domains, name)
    finally:
        side.close()


def _context(measure: Measure) -> Measure:
    return msgspec.structs.replace(measure, judged=False)


def _hits(name: str, side: Side, temperature: float, domains: list[str], *, judged: bool) -> Measure:
    assert side.ssd is not None
    counters = side.ssd.counters
    hits, misses = counters["ssd_rounds:hit"], counters["ssd_rounds:miss"]
    rounds = max(1.0, hits + misses)
    on_hit, on_miss = counters["ssd_tokens:hit"] / max(1.0, hits), counters["ssd_tokens:miss"] / max(1.0, misses)
    waited, built, idle = (1e3 * counters[f"ssd_{what}_seconds"] / rounds for what in ("wait", "build", "idle"))
    detail = (
        f"{on_hit:.2f} tokens on a hit, {on_miss:.2f} on a miss; per round waited {waited:.2f} ms, "
        f"drafted {built:.1f} ms, idle {idle:.1f} ms"
    )
    rate = hits / rounds
    spread = 1.96 * (rate * (1 - rate) / rounds) ** 0.5
    ratio = Ratio(value=rate, lower=rate - spread, upper=rate + spread, low=rate, high=rate, num=int(rounds))
    return Measure(
        goal=HITS.name, what=name, ratio=ratio, domain="+".join(domains), temperature=temperature, detail=detail, judged=judged
    )


def _fan_outs(bench: Bench, decoder: Decoder, draft: DraftModel, domains: list[str], cores: list[int]) -> Iterator[Measure]:
    """Hit rates answer by answer, on the same requests."""
    asks = bench.supply.mixed(bench.sizes.ssd_fan_out, domains)
    rates: dict[str, list[tuple[float, float]]] = {}
    policies: tuple[Policy, ...] = ("measured", "uniform", "geometric")
    for policy in policies:
        side = Side(decoder, draft, "ssd", cores=cores[:1], worker=cores[1:2], policy=policy)
        try:
            side.await_worker([asks[0].at(0.8)])
            rates[policy] = [_rate(side, ask.at(0.8)) for ask in asks]
            if policy == "measured":
                for temperature in TEMPERATURES:
                    yield _share(
                        temperature, domains, rates[policy] if temperature else [_rate(side, ask.at(0.0)) for ask in asks]
                    )
        finally:
            side.close()
    for other in ("uniform", "geometric"):
        yield Measure(
            goal=FAN.name,
            what=f"measured less {other}",
            ratio=_difference(rates["measured"], rates[other]),
            domain="+".join(domains),
            temperature=0.8,
            judged=other == "uniform",
            detail=", ".join(f"{name} {ratio_of_sums(each, _ones(each)).value:.3f}" for name, each in rates.items()),
        )


def _share(temperature: float, domains: list[str], rates: list[tuple[float, float]]) -> Measure:
    return Measure(
        goal=HITS.name,
        what="cost-true target",
        ratio=ratio_of_sums(rates, _ones(rates)),
        domain="+".join(domains),
        temperature=temperature,
    )


def _rate(side: Side, ask: Ask) -> tuple[float, float]:
    """Hits and rounds of one answer."""
    assert side.ssd is not None
    counters = side.ssd.counters
    counters.clear()
    side.run([ask])
    return counters["ssd_rounds:hit"], counters["ssd_rounds:hit"] + counters["ssd_rounds:miss"]


def _ones(rates: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(1.0, 1.0)] * len(rates)


def _difference(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> Ratio:
    """Of the two rates, from a paired bootstrap over answers."""
    counts = np.array([(*our, *their) for our, their in zip(ours, theirs, strict=True)], np.float64)
    drawn = counts[np.random.default_rng(0).integers(len(counts), size=(2000, len(counts)))].sum(1)
    spread = drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3]
    total = counts.sum(0)
    lower, upper = np.quantile(spread, (0.025, 0.975)).tolist()
    return Ratio(
        value=float(total[0] / total[1] - total[2] / total[3]),
        lower=lower,
        upper=upper,
        low=float(spread.min()),
        high=float(spread.max()),
        num=len(counts),
    )
