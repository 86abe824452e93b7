"""Sixteen requests that begin alike, with their common text read once against read by each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from bench.context import Bench
from bench.pairs import Side, interleave
from bench.results import Goal, Measure, Trainer
from bench.rig import Ask, Client, at_once
from bench.speed import speed_measures

SHARING = Goal(name="sharing", title="a prefix shared by 16 requests, throughput against no sharing", at_least=2.0, aim=5.0)
GOALS = (SHARING,)
NUM_SHARING = 16


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Plain decoding on both sides. Raises Different, NotEnough."""
    shared, unshared = bench.house.plain, bench.house.unshared()
    batches = [_alike(bench) for _ in range(bench.sizes.sharing_pairs + 1)]
    before = _num_read(shared), _num_read(unshared)
    pairs = interleave(batches[0], batches[1:], _at_once(shared), _at_once(unshared), bench.judge)
    num_read = _num_read(shared) - before[0], _num_read(unshared) - before[1]
    for each in speed_measures(SHARING, "sharing on against off", pairs, temperature=0.0, concurrency=NUM_SHARING):
        detail = f"{each.detail}; {num_read[0]:.0f} prompt tokens read against {num_read[1]:.0f}"
        yield msgspec.structs.replace(each, detail=detail)


def _alike(bench: Bench) -> list[Ask]:
    """Requests whose prompts begin with the same text: other prompts, one behind the other, as many tokens as are wanted."""
    text: list[int] = []
    while len(text) < bench.sizes.sharing_tokens:
        text += bench.supply.everywhere(1)[0].prompt_ids
    common = tuple(text[: bench.sizes.sharing_tokens])
    room = bench.house.loaded.config.max_positions - bench.house.settings.max_tree - len(common)
    asks: list[Ask] = []
    while len(asks) < NUM_SHARING:
        (ask,) = bench.supply.everywhere(1)
        if len(ask.prompt_ids) + ask.max_tokens <= room:
            asks.append(replace(ask, prompt_ids=common + ask.prompt_ids, max_tokens=min(ask.max_tokens, _MAX_TOKENS)))
    return asks


_MAX_TOKENS = 32
"""Of an answer: what is compared is mostly the reading."""


def _at_once(client: Client) -> Side:
    return lambda asks: at_once(client, asks)


def _num_read(client: Client) -> float:
    counters = client.engine.scheduler.counters
    return counters["prefix_cache_queries"] - counters["prefix_cache_hits"]
