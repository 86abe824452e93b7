"""Several streams as one, each item as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def interleave(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Items of all streams in the order they come. The first error ends it; ending closes every stream."""
    queue: asyncio.Queue[T | _Ended] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(stream, queue)) for stream in streams]
    try:
        num_open = len(tasks)
        while num_open:
            item = await queue.get()
            if not isinstance(item, _Ended):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                num_open -= 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Ended:
    """The last word of a stream."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


async def _pump(stream: AsyncGenerator[T, None], queue: asyncio.Queue[T | _Ended]) -> None:
    error: Exception | None = None
    try:
        async with aclosing(stream):
            async for item in stream:
                queue.put_nowait(item)
    except Exception as raised:
        error = raised
    queue.put_nowait(_Ended(error))
