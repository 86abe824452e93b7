"""The target drafting for itself, with a few of a long text's keys in view, against plain decoding: eight texts of 8,192 tokens.

The bundled target was made for 2,048 positions. Here it is turned more slowly and reads on (`bench/long_sides.py`): what it then
says is the measure of both sides, and they must say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import torch

from bench.context import Bench
from bench.equality import Judge
from bench.long_sides import LongSide, long_target
from bench.pairs import interleave
from bench.results import Goal, Measure, Trainer
from bench.rig import Ask, acceptance_length
from bench.sizes import TEMPERATURES
from bench.speed import speed_measures

LONG = Goal(
    name="long-context",
    title="sparse self-draft against plain decoding, 8 texts of 8,192 tokens at once",
    at_least=1.1,
    aim=1.5,
)
GOALS = (LONG,)
NUM_TEXTS = 8
_NODES = 3
"""Drafted for each answer: a chain. Rows cost a good deal to verify on one core: of its time, four answers at once took 7 % less
with two than with three, and 8 % more with four."""


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises Different, NotEnough."""
    torch.set_num_threads(bench.house.num_threads)
    settings, length = bench.house.settings, bench.sizes.long_tokens
    decoder = long_target(settings.target, settings.revision, length + bench.sizes.long_answer)
    ours, plain = (
        LongSide(decoder, nodes=nodes, num_texts=NUM_TEXTS, length=length + bench.sizes.long_answer) for nodes in (_NODES, 0)
    )
    before = [_before(bench, length) for _ in range(NUM_TEXTS)]
    for temperature in TEMPERATURES:
        batches = [_asks(bench, before, temperature) for _ in range(bench.sizes.long_pairs + 1)]
        pairs = interleave(batches[0], batches[1:], ours.run, plain.run, Judge(decoder))
        emitted = acceptance_length(answer for answers in pairs.ours for answer in answers)
        counters = ours.source.counters
        view = 1e3 * counters["self_view_seconds"] / counters["self_views"]
        detail = f"{emitted:.2f} tokens a step, {view:.0f} ms a view"
        for each in speed_measures(
            LONG, "self-draft against plain", pairs, temperature=temperature, concurrency=NUM_TEXTS, trainer=trainer
        ):
            yield msgspec.structs.replace(each, detail=f"{each.detail}; {detail}" if each.detail else "")


def _before(bench: Bench, length: int) -> tuple[int, ...]:
    """What one text begins with: prompts of the supply's domains, one behind the other."""
    text: list[int] = []
    while len(text) < length:
        text += bench.supply.training(bench.supply.domains[len(text) % len(bench.supply.domains)], 1)[0].prompt_ids
    return tuple(text[:length])


def _asks(bench: Bench, before: list[tuple[int, ...]], temperature: float) -> list[Ask]:
    """A fresh request at the end of each text: texts as long as they were."""
    asks = []
    for text in before:
        (ask,) = bench.supply.everywhere(1)
        tail = ask.prompt_ids[-len(text) // 2 :]
        asks.append(
            replace(
                ask,
                prompt_ids=text[: len(text) - len(tail)] + tail,
                max_tokens=bench.sizes.long_answer,
                stop_ids=(),
                temperature=temperature,
            )
        )
    return asks
