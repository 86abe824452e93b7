"""Speculation against our own plain decoding at batch size 1, on traffic it has adapted to."""

from __future__ import annotations

from collections.abc import Iterator

from bench.against_plain import against_plain
from bench.context import Bench
from bench.results import Goal, Measure, Trainer
from bench.sizes import LEARNT, TEMPERATURES
from bench.speed import speed_measures

ALONE = Goal(name="alone", title="speculation against our plain decoding, batch size 1, adapted traffic", at_least=1.5, aim=2.5)
GOALS = (ALONE,)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    bench.adapted()
    for domain in LEARNT:
        for temperature in TEMPERATURES:
            batches = bench.batches(bench.sizes.pairs, bench.sizes.alone_each, (domain,), temperature)
            pairs = against_plain(bench, batches, 1, trainer)
            yield from speed_measures(
                ALONE, "speculation against plain", pairs, temperature=temperature, domain=domain, trainer=trainer
            )
