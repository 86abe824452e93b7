"""What each source is worth: alone, and left out of all of them merged, on the task groups; and what baselines are worth there.

So many nodes are drafted in every step whoever drafts, so tokens per step do not depend on the machine; tokens per second, in
the details, do. Nobody remembers an answer. Sources are all that can draft here: of heads and draft models those that the target
has, a datastore if the server has one, and not SSD, whose drafts depend on the time it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.baselines import lookahead, prompt_lookup
from bench.context import Bench
from bench.figures.acceptance import NODES
from bench.groups import GROUPS
from bench.ratios import ratio_of_sums
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer, Ask, Client, acceptance_length, tokens_per_second
from bench.sizes import TEMPERATURES
from serving.engine import FixedBudget
from serving.settings import SOURCES, EngineSettings
from speculator.kinds import EAGLE, HEADS, kind_of, static

MERGED = Goal(
    name="ablation", title="all sources merged against each alone, tokens per step at the same nodes", at_least=1.0, aim=1.1
)
GOALS = (MERGED,)
_ALL = "all sources"


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    everything = possible(bench.house.settings)
    client = bench.practised(bench.house.variant(sources=everything, share_prefixes=False, shadow_every=0))
    teams = line_up(client.engine.speculator.source_names)
    baselines = {
        "prompt lookup": bench.house.alone(prompt_lookup.PromptLookupSpeculator(), NODES),
        "lookahead decoding": bench.house.alone(lookahead.LookaheadSpeculator(), lookahead.NODES),
    }
    for temperature in TEMPERATURES:
        (asks,) = bench.tasks.batches(1, bench.sizes.ablation * len(GROUPS), GROUPS, temperature)
        plain = bench.house.plain.run(asks, 1)
        answers = {name: _drafted(client, team, asks) for name, team in teams.items()}
        answers |= {f"{name} (a baseline)": each.run(asks, 1) for name, each in baselines.items()}
        for each in answers.values():
            bench.judge.same(each, plain)
        for loops in (True, False):
            yield from _lines(answers, plain, temperature, loops)


def possible(settings: EngineSettings) -> tuple[str, ...]:
    """Sources that can be asked for, in the order of `SOURCES`; the server's own first, since the first heads are followed."""
    # `self` leaves texts as short as these alone, and nobody has trained a layer unless the server names it
    left_out = {"ssd", "self"} | ({"rest"} if not settings.rest else set()) | {EAGLE} - set(settings.sources)
    return tuple(name for name in dict.fromkeys((*settings.sources, *SOURCES)) if name not in left_out)


def line_up(source_names: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """Teams by what they are: everybody, then each source alone and everybody but that one.

    Nothing is trained here, so copies of heads draft alike: one of them counts; heads that nobody has trained do not.
    """
    trained = [name for name in source_names if name not in HEADS or static(name) in source_names]
    names = [name for name in trained if kind_of(name) == name]
    everybody = frozenset(names)
    teams = {_ALL: everybody} | {f"{name} alone": frozenset({name}) for name in names}
    return teams | {f"without {name}": everybody - {name} for name in names if len(names) > 2}


def _drafted(client: Client, team: frozenset[str], asks: Sequence[Ask]) -> list[Answer]:
    client.engine.controller = FixedBudget(NODES, team)
    return client.run(asks, 1, learn=False)


def _lines(
    answers: Mapping[str, Sequence[Answer]], plain: Sequence[Answer], temperature: float, loops: bool
) -> Iterator[Measure]:
    kept = [at for at, answer in enumerate(plain) if answer.num_steps and (loops or not answer.looping)]
    merged, slow = [answers[_ALL][at] for at in kept], [plain[at] for at in kept]
    for name, each in answers.items():
        theirs = [each[at] for at in kept]
        if theirs and name != _ALL:
            speed, alone = tokens_per_second(theirs), name.endswith(" alone")
            yield Measure(
                goal=MERGED.name,
                what=f"{_ALL} against {name}",
                ratio=ratio_of_sums([_rate(answer) for answer in merged], [_rate(answer) for answer in theirs]),
                domain="mixed",
                temperature=temperature,
                loops=loops,
                judged=alone,
                detail=f"{acceptance_length(merged):.2f} against {acceptance_length(theirs):.2f} tokens a step; "
                f"{tokens_per_second(merged):.0f} against {speed:.0f} tokens/s, plain {tokens_per_second(slow):.0f}",
            )


def _rate(answer: Answer) -> tuple[float, float]:
    return answer.num_decoded, answer.num_steps
