"""The speed of interleaved pairs as measures: with looping answers and without."""

from __future__ import annotations

from collections.abc import Iterator

from bench.pairs import Pairs
from bench.results import Goal, Measure, Trainer
from bench.rig import tokens_per_second


def speed_measures(
    goal: Goal,
    what: str,
    pairs: Pairs,
    *,
    temperature: float,
    domain: str = "all",
    concurrency: int = 1,
    trainer: Trainer = "off",
) -> Iterator[Measure]:
    """One with looping answers, and one without where any are left."""
    ours, theirs = (tokens_per_second(answer for answers in side for answer in answers) for side in (pairs.ours, pairs.theirs))
    detail = (
        f"{ours:.0f} against {theirs:.0f} tokens/s; {pairs.num_answers} answers, {pairs.num_looping} looping, "
        f"{pairs.num_near_ties} near-ties"
    )
    for loops in (True, False):
        ratio = pairs.speed(loops=loops)
        if ratio is not None:
            yield Measure(
                goal=goal.name,
                what=what,
                ratio=ratio,
                domain=domain,
                temperature=temperature,
                concurrency=concurrency,
                trainer=trainer,
                loops=loops,
                detail=detail if loops else "",
            )
