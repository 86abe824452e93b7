"""The controller against the best fixed setting of each task group, chosen with hindsight.

A fixed setting is a set of sources and a number of nodes for every step. All of a grid answer the same requests, one after the
other on one engine, in another order each time, and nobody remembers an answer. The fastest of them on these very requests is
the rival: chosen on the data that it is then measured on, so it looks better than anybody could have chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.context import Bench
from bench.groups import GROUPS
from bench.ratios import median_ratio
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer, Ask, Client, tokens_per_second
from bench.sizes import TEMPERATURES
from serving.engine import Budgeting, FixedBudget
from speculator.kinds import kind_of

FIXED = Goal(
    name="fixed",
    title="the controller against the best fixed setting of each task group, chosen with hindsight",
    at_least=0.95,
    aim=1.05,
)
GOALS = (FIXED,)
OWN = "controller"
"""Its name among the settings."""

_Answers = dict[str, list[list[Answer]]]
"""By setting, then batch by batch."""


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    # no prefix is shared: who comes second would find the prompt read
    client = bench.practised(bench.house.variant(share_prefixes=False))
    settings = grid(client.engine.speculator.source_names, bench.sizes.fixed_nodes)
    ways: dict[str, Budgeting] = {OWN: client.engine.controller, **settings}
    for temperature in TEMPERATURES:
        for group in GROUPS:
            answers = _answered(bench, client, ways, group, temperature)
            for loops in (True, False):
                yield from _compared(answers, group, temperature, loops)


def grid(sources: Sequence[str], nodes: Sequence[int]) -> dict[str, FixedBudget]:
    """Nothing at all; each source alone and all of them together at each number of nodes."""
    names = [name for name in sources if kind_of(name) == name]  # nobody trains: copies of heads draft alike
    teams = {name: frozenset({name}) for name in names}
    if len(names) > 1:
        teams["all"] = frozenset(names)
    return {"plain": FixedBudget(0)} | {
        f"{team}, {num} nodes": FixedBudget(num, members) for team, members in teams.items() for num in nodes
    }


def _answered(bench: Bench, client: Client, ways: Mapping[str, Budgeting], group: str, temperature: float) -> _Answers:
    sizes = bench.sizes
    proof, *batches = bench.tasks.batches(sizes.fixed_pairs + 1, sizes.fixed_each, (group,), temperature)
    expected = bench.house.plain.run(proof, 1)
    for way in ways.values():
        bench.judge.same(_run(client, way, proof), expected)
    answers: _Answers = {name: [] for name in ways}
    for number, asks in enumerate(batches):
        names = list(ways)
        turn = number * len(names) // len(batches)
        for name in [*names[turn:], *names[:turn]]:
            answers[name].append(_run(client, ways[name], asks))
        for name in names[1:]:
            bench.judge.same(answers[name][-1], answers[names[0]][-1])
    return answers


def _run(client: Client, way: Budgeting, asks: Sequence[Ask]) -> list[Answer]:
    own = client.engine.controller
    client.engine.controller = way
    try:
        return client.run(asks, 1, learn=False)
    finally:
        client.engine.controller = own


def _compared(answers: _Answers, group: str, temperature: float, loops: bool) -> Iterator[Measure]:
    kept = {
        name: [[answer for answer in batch if loops or not answer.looping] for batch in batches]
        for name, batches in answers.items()
    }
    speeds = {name: tokens_per_second(answer for batch in batches for answer in batch) for name, batches in kept.items()}
    own = speeds.pop(OWN)
    best = max(speeds, key=lambda name: speeds[name])
    pairs = [tuple(map(tokens_per_second, pair)) for pair in zip(kept[OWN], kept[best], strict=True)]
    timed = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
    if timed:
        yield Measure(
            goal=FIXED.name,
            what="controller against the best fixed setting",
            ratio=median_ratio([ours for ours, _ in timed], [theirs for _, theirs in timed]),
            domain=group,
            temperature=temperature,
            loops=loops,
            detail=f"{own:.0f} against {speeds[best]:.0f} tokens/s of {best}, best of {len(speeds)}; plain {speeds['plain']:.0f}",
        )
