"""The speed of two sides on each task group, and its mean over the groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from bench.context import Bench
from bench.groups import GROUPS
from bench.pairs import Pairs, Side, interleave
from bench.ratios import mean_of_medians
from bench.results import Goal, Measure, Trainer
from bench.speed import speed_measures


def by_group(
    bench: Bench,
    goal: Goal,
    what: str,
    ours: Side,
    theirs: Side,
    *,
    num_pairs: int,
    num_each: int,
    temperature: float,
    trainer: Trainer = "off",
) -> Iterator[Measure]:
    """Each group, which is context, then the mean, which is what the goal is about. Raises BenchError."""
    done: list[Pairs] = []
    for group in GROUPS:
        batches = bench.tasks.batches(num_pairs + 1, num_each, (group,), temperature)
        done.append(interleave(batches[0], batches[1:], ours, theirs, bench.judge))
        for each in speed_measures(goal, what, done[-1], temperature=temperature, domain=group, trainer=trainer):
            yield msgspec.structs.replace(each, judged=False)
    yield from _means(goal, what, done, temperature, trainer)


def _means(goal: Goal, what: str, done: Sequence[Pairs], temperature: float, trainer: Trainer) -> Iterator[Measure]:
    """A group in which every answer loops has no part in the mean without such answers."""
    for loops in (True, False):
        groups = [[ours / theirs for ours, theirs in pairs.speeds(loops=loops)] for pairs in done]
        timed = [group for group in groups if group]
        if timed:
            yield Measure(
                goal=goal.name,
                what=what,
                ratio=mean_of_medians(timed),
                domain=f"mean of {len(timed)} groups",
                temperature=temperature,
                trainer=trainer,
                loops=loops,
            )
