"""Loops: requests at a rate that the server does not decide (open), or so many at once (closed)."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator

from cli.demo.prompts import Prompt

Sending = Callable[[Prompt], Awaitable[None]]
Next = Callable[[float], Prompt | None]
"""The prompt for a request at so many seconds after the start; None: no more."""

_BLOCK = 10.0
"""Seconds."""
MOST_UNDER_WAY = 1024
"""Requests that an open loop may have open: a server that has fallen behind for good is not buried."""


def arrivals(rate: float, seed: int, *, even: bool) -> Iterator[float]:
    """Seconds after the start at which requests are sent, `rate` a second: at even distances, or as strangers come.

    Those are a Poisson process given its counts: in every ten seconds there are as many as the rate says, at random times.
    """
    chance = random.Random(seed)
    each = max(1, round(rate * _BLOCK))
    length = each / rate
    for block in itertools.count():
        times = [number / each for number in range(each)] if even else sorted(chance.random() for _ in range(each))
        yield from (length * (block + time) for time in times)


async def open_loop(send: Sending, prompt: Next, times: Iterator[float], clock: Callable[[], float] = time.perf_counter) -> int:
    """Sends at `times`, however long answers take; returns how many were not sent since too many were under way.

    Each is sent at its own time after the start, not after the one before: whatever delays one delays no other.
    """
    started, skipped = clock(), 0
    under_way: set[asyncio.Task[None]] = set()
    for at in times:
        delay = started + at - clock()
        if delay > 0:
            await asyncio.sleep(delay)
        wanted = prompt(at)
        if wanted is None:
            break
        if len(under_way) >= MOST_UNDER_WAY:
            skipped += 1
            continue
        task = asyncio.ensure_future(send(wanted))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    while under_way:
        await asyncio.wait(under_way)
    return skipped


async def closed_loop(send: Sending, prompt: Next, concurrency: int, clock: Callable[[], float] = time.perf_counter) -> None:
    """Keeps `concurrency` requests under way."""
    started = clock()

    async def sender() -> None:
        while (wanted := prompt(clock() - started)) is not None:
            await send(wanted)

    await asyncio.gather(*(sender() for _ in range(concurrency)))
