"""Speculation on against off with 8, 16, 32 and 64 requests at once, the task groups mixed.

With the trainer on the engine is that of the figure `groups`, which has served traffic of the groups while the trainer learnt.
Timed are only the steps in which every slot is taken: at the end of a pair the batch shrinks, where speculation gains more.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.context import Bench
from bench.groups import GROUPS
from bench.pairs import interleave
from bench.results import Goal, Measure, Trainer
from bench.sizes import TEMPERATURES
from bench.speed import speed_measures

_LIMITS = {8: (1.2, 1.6), 16: (1.0, 1.3), 32: (1.0, 1.1), 64: (1.0, 1.0)}
"""At least and aim, by requests at once."""
GOALS = tuple(
    Goal(name=f"crowd-{num}", title=f"speculation on against off, {num} requests at once, task groups", at_least=low, aim=aim)
    for num, (low, aim) in _LIMITS.items()
)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    sizes, client = bench.sizes, bench.of_task_groups(trainer)
    plain = bench.house.variant(**bench.room, sources=())
    for goal, num in zip(GOALS, sizes.crowds, strict=True):
        for temperature in TEMPERATURES:
            proof, *batches = bench.tasks.batches(sizes.crowd_pairs + 1, sizes.crowd_rounds * num, GROUPS, temperature)
            ours, theirs = bench.fed(client, num, trainer), bench.fed(plain, num, "off")
            with bench.stack.busy():
                pairs = interleave(proof[:num], batches, ours, theirs, bench.judge)
            yield from speed_measures(
                goal,
                "speculation on against off",
                pairs,
                temperature=temperature,
                domain="mixed",
                concurrency=num,
                trainer=trainer,
            )
