"""The adaptation: traffic that shifts, answered twice: by the server that learns from it and by the static heads alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.equality import Judge
from bench.house import House
from bench.rig import Answer, Ask, Client, acceptance_length
from bench.sizes import KNOWN, LEARNT, TEMPERATURES, Sizes
from bench.stack import Stack
from bench.supply import Supply

_SHOW_EVERY = 50
"""Requests."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request, answered by both within moments."""

    adaptive: Answer
    static: Answer


@dataclass(frozen=True, slots=True)
class Adapted:
    """What came of it."""

    client: Client
    """The engine that learnt; the trainer may still be running beside it."""
    after: list[Served]
    """Requests after the shift."""
    summary: str
    """In words."""


def adapt(house: House, supply: Supply, sizes: Sizes, judge: Judge, stack: Stack, say: Callable[[str], None]) -> Adapted:
    """Starts the trainer and leaves it running. Raises Different when the two answers to a request are not equal."""
    stack.start_trainer()
    adaptive, static = house.adapting(), house.static()
    before, after = _traffic(supply, sizes)
    served: list[Served] = []
    started = due = time.monotonic()
    for number, ask in enumerate(before + after, start=1):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + sizes.pause_seconds, time.monotonic())
        # who goes first changes, so that neither has the warmer caches
        first, second = (adaptive, static) if number % 2 else (static, adaptive)
        (one,), (other,) = first.run([ask], 1), second.run([ask], 1)
        each = Served(one, other) if number % 2 else Served(other, one)
        judge.same([each.adaptive], [each.static])
        stack.record([each.adaptive])
        stack.check_trainer()
        served.append(each)
        if number % _SHOW_EVERY == 0 or number == len(before) + len(after):
            say(f"  {number} requests; the latest {_shown(served[-_SHOW_EVERY:])}; {_trained(adaptive, stack)}")
    minutes = (time.monotonic() - started) / 60
    sent = f"{len(before)} requests before the shift, {len(after)} after it, in {minutes:.1f} minutes"
    return Adapted(adaptive, served[len(before) :], f"{sent}; {_trained(adaptive, stack)}")


def _traffic(supply: Supply, sizes: Sizes) -> tuple[list[Ask], list[Ask]]:
    """Requests before and after the shift, greedy and sampled in turns in each domain."""
    before = supply.mixed(sizes.before, KNOWN)
    after = [
        ask.at(TEMPERATURES[at % 2]) for domain in LEARNT for at, ask in enumerate(supply.training(domain, sizes.learnt))
    ]
    random.Random(0).shuffle(after)
    return [ask.at(TEMPERATURES[at // 2 % 2]) for at, ask in enumerate(before)], after


def _shown(served: Sequence[Served]) -> str:
    adaptive, static = (acceptance_length(side) for side in ([s.adaptive for s in served], [s.static for s in served]))
    return f"{adaptive:.2f} tokens a step, static heads {static:.2f}"


def _trained(client: Client, stack: Stack) -> str:
    presence = stack.trainer_presence()
    doing = "not heard of yet" if presence is None else presence.state or "running"
    return f"{client.engine.swap.num_swaps} swaps; trainer: {doing}"
