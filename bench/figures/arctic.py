"""Our suffix decoding against `arctic-inference`'s, on the same texts: answers on the task groups, one after another.

Both draft along a text that is there already, so both emit the same tokens; each learns from a text for the next. Theirs drafts
paths of as many tokens as were matched at most, as vLLM has it by default, and trees of up to four times as many. All may draft
16; the details say how many they do. The time of a proposal is all that it takes to give the engine a draft: of theirs, what it
takes to make it a tree of ours is part. Not measured where it is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.baselines.arctic import ArcticSpeculator
from bench.context import Bench
from bench.errors import Different
from bench.groups import GROUPS
from bench.ratios import Rate, ratio_of_sums
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer
from bench.sizes import TEMPERATURES
from bench.stopwatch import Stopwatch
from speculator.protocol import Speculator
from speculator.redraft import redraft
from speculator.simulate import Simulated
from speculator.suffix import SuffixSpeculator

LENGTH = Goal(name="arctic", title="suffix decoding, ours against arctic-inference's, tokens per step", at_least=1.0, aim=1.1)
TIME = Goal(name="arctic-time", title="the same, time for a proposal", at_least=1.0, aim=0.5, most=True)
GOALS = (LENGTH, TIME)
_NODES = 16


@dataclass(slots=True)
class _Side:
    """What one of them made of the texts."""

    source: Stopwatch
    steps: list[Simulated] = field(default_factory=list)
    proposing: list[Rate] = field(default_factory=list)
    """Seconds and proposals, text by text."""

    def draft(self, answer: Answer, number: int) -> None:
        """Goes through a text."""
        ask, source = answer.ask, self.source
        seconds, num = source.proposing, source.num_proposals
        tokens = [*ask.prompt_ids, *answer.token_ids]
        self.steps.append(redraft(source, tokens, len(ask.prompt_ids), ask.sampling, num_nodes=_NODES, number=number))
        self.proposing.append((source.proposing - seconds, source.num_proposals - num))


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError; NotInstalled where there is none to compare with."""
    for trees in (False, True):
        ArcticSpeculator(trees=trees)  # before the texts are made
    for temperature in TEMPERATURES:
        (asks,) = bench.tasks.batches(1, bench.sizes.arctic * len(GROUPS), GROUPS, temperature)
        answers = [answer for answer in bench.house.plain.run(asks, 1) if len(answer.token_ids) > 1]
        sides = {name: _Side(Stopwatch(source)) for name, source in _sources().items()}
        _through(answers, list(sides.values()))
        ours = sides.pop("ours")
        for name, theirs in sides.items():
            for loops in (True, False):
                kept = [at for at, answer in enumerate(answers) if loops or not answer.looping]
                if kept:
                    yield from _compared(name, ours, theirs, kept, temperature, loops)


def _sources() -> dict[str, Speculator]:
    theirs = [ArcticSpeculator(trees=trees) for trees in (False, True)]
    return {"ours": SuffixSpeculator(max_tree=_NODES), **{each.name: each for each in theirs}}


def _through(answers: Sequence[Answer], sides: Sequence[_Side]) -> None:
    """Every text through every side, in another order each time. Raises Different."""
    for number, answer in enumerate(answers, start=1):
        turn = number % len(sides)
        for side in [*sides[turn:], *sides[:turn]]:
            side.draft(answer, number)
        if len({side.steps[-1].num_tokens for side in sides}) > 1:
            raise Different(f"request {answer.ask.id}: the sides went through texts of different lengths")


def _compared(
    name: str, ours: _Side, theirs: _Side, kept: Sequence[int], temperature: float, loops: bool
) -> Iterator[Measure]:
    sides = (ours, theirs)
    lengths: list[list[Rate]] = [[(side.steps[at].num_tokens, side.steps[at].num_steps) for at in kept] for side in sides]
    times = [[side.proposing[at] for at in kept] for side in sides]
    (our, their), micros = [_per(each) for each in lengths], [1e6 * _per(each) for each in times]
    learning = [1e6 * side.source.learning / side.source.num_proposals for side in sides]
    nodes = [_per([(sum(side.steps[at].proposed), side.steps[at].num_steps) for at in kept]) for side in sides]
    found: dict[Goal, tuple[list[list[Rate]], str]] = {
        LENGTH: (lengths, f"{our:.2f} against {their:.2f}, of {nodes[0]:.1f} and {nodes[1]:.1f} nodes"),
        TIME: (times, f"{micros[0]:.0f} against {micros[1]:.0f} us; learning {learning[0]:.0f} and {learning[1]:.0f} us a step"),
    }
    for goal, (rates, detail) in found.items():
        yield Measure(
            goal=goal.name,
            what=f"against {name}",
            ratio=ratio_of_sums(rates[0], rates[1]),
            domain="mixed",
            temperature=temperature,
            loops=loops,
            detail=detail,
        )


def _per(rates: Sequence[Rate]) -> float:
    return sum(amount for amount, _ in rates) / sum(cost for _, cost in rates)
