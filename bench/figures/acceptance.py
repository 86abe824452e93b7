"""Mean acceptance length after the adaptation, against the static heads, on the next fresh requests.

Every source drafts the same number of nodes in every step, so the figure does not depend on the machine. The engine that
adapted answers each request once for each set of sources, and only remembers the last of these answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.context import Bench
from bench.errors import BenchError
from bench.ratios import ratio_of_sums
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer, Ask, Client, acceptance_length
from bench.sizes import LEARNT, TEMPERATURES
from pipelines.registry import Slot
from serving.engine import FixedBudget
from serving.swap import Swap
from speculator.kinds import static
from speculator.static_heads import KIND
from trainer.settings import TrainerSettings

_TITLE = "mean acceptance length after 500 requests of a new domain"
HEADS = Goal(name="heads", title=f"{_TITLE}, heads alone against static", at_least=1.15, aim=1.4)
SOURCES = Goal(name="sources", title=f"{_TITLE}, all sources against static", at_least=1.3, aim=1.7)
GOALS = (HEADS, SOURCES)

NODES = TrainerSettings.budget
"""Drafted nodes a step: as many as the gate judges by."""
_STATIC = frozenset({static(KIND)})


@dataclass(frozen=True, slots=True)
class _Arm:
    goal: Goal
    what: str
    sources: frozenset[str]
    trainer: Trainer = "on"

    @property
    def judged(self) -> bool:
        return self.trainer == "on"


_ARMS = (
    _Arm(HEADS, "heads alone", frozenset({KIND})),
    # what there is without a trainer: the suffix tree learns all the same
    _Arm(SOURCES, "static heads and suffix tree", _STATIC | {"suffix"}, trainer="off"),
    _Arm(SOURCES, "all sources", frozenset({KIND, "suffix", "recycling"})),
)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    client = bench.adapted().client
    if static(KIND) not in client.engine.speculator.source_names:
        raise BenchError("the target has no static heads to compare with: `make heads` makes the bundled target's")
    with frozen(client):
        for domain in LEARNT:
            for temperature in TEMPERATURES:
                asks = [ask.at(temperature) for ask in bench.supply.fresh(domain, bench.sizes.fresh)]
                yield from _compared(bench, client, asks)


def _compared(bench: Bench, client: Client, asks: Sequence[Ask]) -> Iterator[Measure]:
    answers = [_each_way(client, ask) for ask in asks]
    static = [each[0] for each in answers]
    for number, arm in enumerate(_ARMS, start=1):
        ours = [each[number] for each in answers]
        bench.judge.same(ours, static)
        yield from length_measures(arm.goal, arm.what, ours, static, trainer=arm.trainer, judged=arm.judged)


def length_measures(
    goal: Goal, what: str, ours: Sequence[Answer], static: Sequence[Answer], *, trainer: Trainer, judged: bool = True
) -> Iterator[Measure]:
    """Mean acceptance lengths of the same answers drafted in two ways: of all of them, and of those that do not loop."""
    for loops in (True, False):
        kept = [at for at, answer in enumerate(static) if answer.num_steps and (loops or not answer.looping)]
        if not kept:
            continue
        mine, theirs = [ours[at] for at in kept], [static[at] for at in kept]
        yield Measure(
            goal=goal.name,
            what=what,
            ratio=ratio_of_sums([_rate(answer) for answer in mine], [_rate(answer) for answer in theirs]),
            domain=mine[0].ask.domain,
            temperature=mine[0].ask.temperature,
            trainer=trainer,
            loops=loops,
            judged=judged,
            detail=f"{acceptance_length(mine):.2f} against {acceptance_length(theirs):.2f} tokens a step",
        )


def _each_way(client: Client, ask: Ask) -> list[Answer]:
    """The answer with the static heads, then with each of the arms; the last one is remembered."""
    answers = []
    ways = [_STATIC, *(arm.sources for arm in _ARMS)]
    for number, sources in enumerate(ways, start=1):
        client.engine.controller = FixedBudget(NODES, sources)
        answers += client.run([ask], 1, learn=number == len(ways))
    return answers


def _rate(answer: Answer) -> tuple[float, float]:
    return answer.num_decoded, answer.num_steps


@contextmanager
def frozen(client: Client) -> Iterator[None]:
    """Keeps the version in service meanwhile, and gives the engine its own controller back."""
    swap, controller = client.engine.swap, client.engine.controller
    client.engine.swap = Swap(Slot(target="", kind=""))
    try:
        yield
    finally:
        client.engine.swap, client.engine.controller = swap, controller
