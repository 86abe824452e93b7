"""A stream whose traffic shifts four times, from one task group to another: its worst window of requests, against the better of
the static heads and plain decoding over that very window.

Everybody answers each request within moments, in another order each time. Ours starts knowing nothing of the traffic. Where a
trainer is wanted it works beside all of them alike: it is told that the server is busy, and takes the share that it always has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.context import Bench
from bench.ratios import Rate, ratio_of_sums
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer, Ask, Client
from bench.sizes import TEMPERATURES
from bench.windows import worst_window

SHIFTS = Goal(
    name="shifts",
    title="stream with four shifts, worst 50-request window against the better of static and plain",
    at_least=0.97,
    aim=1.0,
)
GOALS = (SHIFTS,)
STREAM = ("math", "translation", "multi-turn", "retrieval", "qa")
"""Groups as they follow each other."""


@dataclass(frozen=True, slots=True)
class _Served:
    """One request, answered by everybody."""

    ours: Answer
    rivals: dict[str, Answer]


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    house = bench.house
    if trainer == "on":
        bench.stack.start_trainer()
    clients = {
        "ours": house.adapting() if trainer == "on" else house.offline(),
        "static heads": house.static(),
        "plain": house.plain,
    }
    with bench.stack.busy():
        served = [_served(bench, clients, ask, at, trainer) for at, ask in enumerate(_stream(bench))]
    bench.say(f"  {len(served)} requests; {clients['ours'].engine.swap.num_swaps} swaps")
    for temperature in (None, *TEMPERATURES):
        for loops in (True, False):
            kept = [each for each in served if temperature in (None, each.ours.ask.temperature)]
            kept = [each for each in kept if each.ours.num_timed and (loops or not each.ours.looping)]
            if kept:
                yield _worst(kept, bench.sizes.window, temperature, trainer, loops)


def _stream(bench: Bench) -> list[Ask]:
    """Greedy and sampled in turns."""
    asks = [ask for group in STREAM for ask in bench.tasks.fresh(group, bench.sizes.shift_requests)]
    return [ask.at(TEMPERATURES[at % 2]) for at, ask in enumerate(asks)]


def _served(bench: Bench, clients: dict[str, Client], ask: Ask, at: int, trainer: Trainer) -> _Served:
    names = list(clients)
    turn = at % len(names)
    answers = {name: clients[name].run([ask], 1)[0] for name in [*names[turn:], *names[:turn]]}
    ours = answers.pop("ours")
    for rival in answers.values():
        bench.judge.same([ours], [rival])
    if trainer == "on":
        bench.stack.record([ours])
        bench.stack.check_trainer()
    return _Served(ours, answers)


def _worst(served: Sequence[_Served], size: int, temperature: float | None, trainer: Trainer, loops: bool) -> Measure:
    """Least of our speed over the better rival's: the better one of a window is the one that ours is less well off against."""
    ours = [_speed(each.ours) for each in served]
    found = []
    for name in served[0].rivals:
        theirs = [_speed(each.rivals[name]) for each in served]
        window = worst_window(ours, theirs, size)
        ratio = ratio_of_sums([ours[at] for at in window], [theirs[at] for at in window])
        found.append((ratio, window, f"{name}; over all of them {ratio_of_sums(ours, theirs).value:.3g}"))
    ratio, window, rival = min(found, key=lambda each: each[0].value)
    return Measure(
        goal=SHIFTS.name,
        what="tokens per second",
        ratio=ratio,
        domain=" > ".join(STREAM),
        temperature=temperature,
        trainer=trainer,
        loops=loops,
        judged=temperature is None,
        detail=f"requests {window.start + 1} to {window.stop} of {len(served)}, against {rival}",
    )


def _speed(answer: Answer) -> Rate:
    return answer.num_timed, answer.seconds
