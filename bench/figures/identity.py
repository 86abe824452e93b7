"""Output equal to plain decoding, token for token, whatever is drafted, whoever shares the batch, while versions are swapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.context import Bench
from bench.ratios import Ratio
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer, Ask
from bench.sizes import TEMPERATURES
from bench.swaps import Flips
from serving.engine import FixedBudget

IDENTITY = Goal(name="identity", title="output equal to plain decoding", at_least=1.0, aim=1.0)
GOALS = (IDENTITY,)

_NODES = 12
"""Drafted nodes of each answer in every step. The controller would draft less where that is faster: less to get wrong."""
_STEPS_BETWEEN_SWAPS = 40


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises Different."""
    everywhere = bench.supply.everywhere(bench.sizes.identity)
    for temperature in TEMPERATURES:
        asks = [ask.at(temperature) for ask in everywhere]
        expected = bench.house.plain.run(asks, 1)
        for concurrency in (1, bench.sizes.crowd):
            yield _compared(bench, asks, expected, concurrency)


def _compared(bench: Bench, asks: Sequence[Ask], expected: Sequence[Answer], concurrency: int) -> Measure:
    client = bench.house.offline()
    client.engine.controller = FixedBudget(_NODES)
    static = bench.versions.static()
    flips = Flips(client, (bench.versions.perturbed(static), static), _STEPS_BETWEEN_SWAPS)
    answers = client.run(asks, concurrency, after_step=flips.after_step)
    num_ties = bench.judge.same(answers, expected)
    num_looping = sum(answer.looping for answer in answers)
    counters = client.engine.stats.counters
    drafted = counters["accepted_tokens"] / max(counters["decode_tokens"], 1)
    return Measure(
        goal=IDENTITY.name,
        what="against our plain decoding one at a time",
        ratio=certain(len(answers)),
        temperature=asks[0].temperature,
        concurrency=concurrency,
        detail=f"{len(answers)} of {len(answers)} equal ({num_ties} near-ties, {num_looping} looping); "
        f"{flips.num_flips} swaps under way; {drafted:.0%} of the tokens had been drafted",
    )


def certain(num: int) -> Ratio:
    """All of `num` answers: anything less is an error, not a figure."""
    return Ratio(value=1.0, lower=1.0, upper=1.0, low=1.0, high=1.0, num=num)
