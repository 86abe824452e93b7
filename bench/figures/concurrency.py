"""Speculation on against off with 8, 16, 32 and 64 requests at once, the task groups mixed.

Timed are only the steps in which every slot is taken: at the end of a pair the batch shrinks, where speculation gains more.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.context import Bench
from bench.groups import GROUPS
from bench.pairs import Side, interleave
from bench.results import Goal, Measure, Trainer
from bench.rig import Client
from bench.sizes import TEMPERATURES
from bench.speed import speed_measures

_LIMITS = {8: (1.2, 1.6), 16: (1.0, 1.3), 32: (1.0, 1.1), 64: (1.0, 1.0)}
"""At least and aim, by requests at once."""
GOALS = tuple(
    Goal(name=f"crowd-{num}", title=f"speculation on against off, {num} requests at once, task groups", at_least=low, aim=aim)
    for num, (low, aim) in _LIMITS.items()
)
_ROOM = 1024
"""Tokens of a request in the mean that there are pages for."""


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises BenchError."""
    sizes, most = bench.sizes, max(bench.sizes.crowds)
    room = {"max_running": most, "max_waiting": 2 * most, "max_cached_tokens": most * _ROOM}
    client, plain = bench.practised(bench.house.variant(**room)), bench.house.variant(**room, sources=())
    for goal, num in zip(GOALS, sizes.crowds, strict=True):
        for temperature in TEMPERATURES:
            proof, *batches = bench.tasks.batches(sizes.crowd_pairs + 1, sizes.crowd_rounds * num, GROUPS, temperature)
            pairs = interleave(proof[:num], batches, _with(client, num), _with(plain, num), bench.judge)
            yield from speed_measures(
                goal, "speculation on against off", pairs, temperature=temperature, domain="mixed", concurrency=num
            )


def _with(client: Client, num: int) -> Side:
    """So many requests at once."""
    return lambda asks: client.run(asks, num)
