"""Schooling: an engine that serves traffic of every task group while a trainer learns from it, before it is measured there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench.groups import GROUPS
from bench.rig import Answer, Client, acceptance_length
from bench.sizes import TEMPERATURES, Sizes
from bench.stack import Stack
from bench.supply import Supply

_SHOW_EVERY = 100
"""Requests."""


def school(client: Client, tasks: Supply, sizes: Sizes, stack: Stack, say: Callable[[str], None]) -> str:
    """Starts the trainer, if there is none, and leaves it running. Training prompts alone are answered, the groups mixed, greedy
    and sampled in turns.

    Returns what came of it, in words. Raises CliError when the trainer ends.
    """
    stack.start_trainer()
    asks = [ask for some in zip(*(tasks.training(group, sizes.group_lessons) for group in GROUPS), strict=True) for ask in some]
    answers: list[Answer] = []
    started = due = time.monotonic()
    for number, ask in enumerate(asks):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + sizes.pause_seconds, time.monotonic())
        answers += client.run([ask.at(TEMPERATURES[number // len(GROUPS) % 2])], 1)
        stack.record(answers[-1:])
        stack.check_trainer()
        if len(answers) % _SHOW_EVERY == 0:
            say(f"  {len(answers)} requests; {_shown(answers[-_SHOW_EVERY:])}; {client.engine.swap.num_swaps} swaps")
    minutes = (time.monotonic() - started) / 60
    return f"{len(answers)} requests of task groups in {minutes:.1f} minutes, {client.engine.swap.num_swaps} swaps"


def _shown(answers: Sequence[Answer]) -> str:
    by_temperature = ((each, [answer for answer in answers if answer.ask.temperature == each]) for each in TEMPERATURES)
    return ", ".join(f"{acceptance_length(some):.2f} tokens a step at {each:g}" for each, some in by_temperature if some)
