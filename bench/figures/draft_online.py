"""The draft model that learns from traffic against the one it started from, drafting alone, after 1,000 requests of a new domain.

Requests come at a pace that leaves the server idle now and then; a trainer of draft models works beside it, on the traffic log
and the registry alone, and its versions go through the gate like any other. Then both draft for fresh requests, which nobody
learnt from, at so many nodes in every step: the figure does not depend on the machine but for how far training got. The domains
come one after the other, so the second starts from a draft that has just learnt the first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench.context import Bench
from bench.errors import BenchError
from bench.figures.acceptance import NODES, frozen, length_measures
from bench.results import Goal, Measure, Trainer
from bench.rig import Ask, Client
from bench.sizes import LEARNT, TEMPERATURES
from serving.engine import FixedBudget
from speculator.draft_lm import KIND

GOAL = Goal(
    name="draft-online",
    title="mean acceptance length of the draft model after 1,000 requests of a new domain, against static",
    at_least=1.2,
    aim=1.5,
)
GOALS = (GOAL,)

_SHOW_EVERY = 100
"""Requests."""


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    learning, static = bench.house.drafting(learns=True), bench.house.drafting(learns=False)
    if KIND not in static.engine.speculator.source_names:
        raise BenchError("the target has no draft model to compare with: `make draft` makes the bundled target's")
    bench.stack.start_trainer("draft-lm")
    try:
        for domain in LEARNT:
            _serve(bench, learning, domain)
            with frozen(learning):
                for temperature in TEMPERATURES:
                    asks = [ask.at(temperature) for ask in bench.supply.fresh(domain, bench.sizes.fresh)]
                    yield from _compared(bench, learning, static, asks)
    finally:
        bench.stack.stop_trainer()


def _serve(bench: Bench, client: Client, domain: str) -> None:
    """Requests of the domain, greedy and sampled in turns, each answered and logged before the next."""
    due = started = time.monotonic()
    for number, ask in enumerate(bench.supply.training(domain, bench.sizes.draft_requests), start=1):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + bench.sizes.pause_seconds, time.monotonic())
        bench.stack.record(client.run([ask.at(TEMPERATURES[number % 2])], 1))
        bench.stack.check_trainer()
        if number % _SHOW_EVERY == 0 or number == bench.sizes.draft_requests:
            presence = bench.stack.trainer_presence()
            doing = "not heard of yet" if presence is None else presence.state
            minutes = (time.monotonic() - started) / 60
            bench.say(f"  {number} requests of {domain} in {minutes:.1f} minutes; {client.engine.swap.num_swaps} swaps; {doing}")


def _compared(bench: Bench, learning: Client, static: Client, asks: Sequence[Ask]) -> Iterator[Measure]:
    clients = (learning, static)
    for client in clients:
        client.engine.controller = FixedBudget(NODES, frozenset({KIND}))
    pairs = [tuple(client.run([ask], 1, learn=False)[0] for client in clients) for ask in asks]
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    bench.judge.same(ours, theirs)
    yield from length_measures(GOAL, "draft model alone", ours, theirs, trainer="on")
