"""Speculation against our own plain decoding at batch size 1, on six task groups in the sense of Spec-Bench.

What drafts has answered a few training prompts of each group and goes on learning; no trainer runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.context import Bench
from bench.group_speed import by_group
from bench.results import Goal, Measure, Trainer
from bench.sizes import TEMPERATURES

SPEED = Goal(name="groups", title="speculation against our plain decoding, batch size 1, six task groups", at_least=1.8, aim=3.0)
GOALS = (SPEED,)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    client, plain, sizes = bench.practised(bench.house.offline()), bench.house.plain, bench.sizes
    for temperature in TEMPERATURES:
        yield from by_group(
            bench,
            SPEED,
            "speculation against plain",
            lambda asks: client.run(asks, 1),
            lambda asks: plain.run(asks, 1),
            num_pairs=sizes.group_pairs,
            num_each=sizes.group_each,
            temperature=temperature,
        )
