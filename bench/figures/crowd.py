"""Speculation on against off with many requests at once, on traffic it has adapted to.

Timed are only the steps in which every slot is taken: at the end of a pair the batch shrinks, where speculation gains more.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.against_plain import against_plain
from bench.context import Bench
from bench.results import Goal, Measure, Trainer
from bench.sizes import LEARNT, TEMPERATURES
from bench.speed import speed_measures

CROWD = Goal(name="crowd", title="speculation on against off, 16 requests at once, adapted traffic", at_least=1.0, aim=1.3)
GOALS = (CROWD,)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    bench.adapted()
    sizes = bench.sizes
    for temperature in TEMPERATURES:
        batches = bench.batches(sizes.pairs, sizes.crowd_each, LEARNT, temperature)
        pairs = against_plain(bench, batches, sizes.crowd, trainer)
        yield from speed_measures(
            CROWD,
            "speculation on against off",
            pairs,
            temperature=temperature,
            domain="+".join(LEARNT),
            concurrency=sizes.crowd,
            trainer=trainer,
        )
