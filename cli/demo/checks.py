"""What is computed again after the traffic: answers by plain decoding, drafts by static and adaptive heads."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from cli.demo.claims import MIN_CHECKED, Verdict, compare
from cli.demo.gains import Pair
from cli.demo.looping import is_looping
from cli.demo.stack import Stack
from cli.demo.traffic import Exchange


def to_check(traffic: Sequence[Exchange], fresh: Sequence[Exchange], wanted: int) -> list[Exchange]:
    """About `wanted` answers, in random order: up to a quarter that a swap interrupted, a third fresh ones (sampled
    and greedy), the rest spread over the whole of the traffic."""
    interrupted = [exchange for exchange in traffic if exchange.saw_a_swap]
    chosen = [*_spread(interrupted, wanted // 4), *_spread(fresh, wanted // 3)]
    chosen += _spread(traffic, wanted - len(chosen))
    unique = list({exchange.index: exchange for exchange in chosen}.values())
    random.Random(0).shuffle(unique)
    return unique


def check(stack: Stack, exchanges: Sequence[Exchange], seconds: float) -> list[Verdict]:
    """Compares answers with plain decoding, one after another; after `seconds` it stops once enough are compared."""
    end = time.perf_counter() + seconds
    verdicts: list[Verdict] = []
    for exchange in exchanges:
        if len(verdicts) >= MIN_CHECKED and time.perf_counter() > end:
            break
        verdicts.append(compare(exchange.output_ids, stack.plain(exchange)))
    return verdicts


def draft_again(stack: Stack, fresh: Sequence[Exchange]) -> list[Pair]:
    """Static and adaptive heads alone on the same answers."""
    replayed = stack.replay(fresh)
    return [
        Pair(
            exchange.domain,
            exchange.temperature,
            is_looping(exchange.output_ids),
            exchange.num_stepped,
            steps.static,
            steps.adaptive,
        )
        for exchange, steps in zip(fresh, replayed, strict=True)
    ]


def _spread(exchanges: Sequence[Exchange], wanted: int) -> list[Exchange]:
    """`wanted` of them at even distances."""
    if wanted >= len(exchanges):
        return list(exchanges)
    return [exchanges[place * len(exchanges) // wanted] for place in range(wanted)]
