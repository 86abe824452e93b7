"""Speculation against our own plain decoding at batch size 1, on six task groups in the sense of Spec-Bench.

What drafts has answered a few training prompts of each group and goes on learning. With the trainer on it has served traffic of
the groups, training prompts all of them, while the trainer learnt from it, which it goes on doing.
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
    ours, plain, sizes = bench.fed(bench.of_task_groups(trainer), 1, trainer), bench.house.plain, bench.sizes
    with bench.stack.busy():
        for temperature in TEMPERATURES:
            yield from by_group(
                bench,
                SPEED,
                "speculation against plain",
                ours,
                lambda asks: plain.run(asks, 1),
                num_pairs=sizes.group_pairs,
                num_each=sizes.group_each,
                temperature=temperature,
                trainer=trainer,
            )
