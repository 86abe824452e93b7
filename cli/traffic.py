"""`everdraft traffic`: sends a server traffic, at a rate or a concurrency, domain by domain on a timetable."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from openai import AsyncOpenAI, OpenAIError

from cli.demo.prompt_files import read_prompts
from cli.demo.prompts import DOMAINS, Prompt, prompts
from cli.demo.traffic import Sampling, Traffic
from cli.errors import CliError, UsageError
from cli.load.loops import arrivals, closed_loop, open_loop
from cli.load.timetable import Supplying, Timetable, parse_timetable
from cli.load.totals import Summary, Totals, line
from cli.show import as_json

REPORT_SECONDS = 5.0
TIMEOUT = 120.0
"""Seconds after which a request counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent. Exactly one of rate and concurrency is given."""

    url: str
    api_key: str
    model: str
    """Empty: the one that is served."""
    files: tuple[Path, ...]
    timetable: str
    """Empty: all domains at once, without end."""
    rate: float | None
    even: bool
    concurrency: int | None
    seconds: float | None
    requests: int | None
    temperature: float
    seed: int


def traffic(load: Load, *, as_data: bool) -> None:
    """Sends until the timetable, the seconds or the requests are over, or Ctrl-C.

    Raises UsageError, CliError when every request failed.
    """
    if (load.rate is None) == (load.concurrency is None):
        raise UsageError("rate or concurrency: expected exactly one of --rate and --concurrency")
    supplying, known = _supply(load.files)
    stretches = parse_timetable(load.timetable or "+".join(known), known)
    totals = Totals()
    skipped = 0
    with suppress(KeyboardInterrupt):
        skipped = asyncio.run(_send(load, Timetable(stretches, supplying, load.seed), totals, quiet=as_data))
    summary = totals.summary(skipped)
    print(as_json(summary) if as_data else line(summary))
    if summary.num_sent and summary.num_failed == summary.num_sent:
        raise CliError(f"every request failed, the last one with {totals.last_error}")


async def _send(load: Load, timetable: Timetable, totals: Totals, *, quiet: bool) -> int:
    client = AsyncOpenAI(base_url=load.url, api_key=load.api_key or "none", max_retries=0, timeout=TIMEOUT)
    async with client:
        sender = Traffic(client, load.model or await _served(client))
        sampling = Sampling(load.temperature, load.seed)
        started = time.perf_counter()
        left = itertools.count() if load.requests is None else iter(range(load.requests))

        def prompt(at: float) -> Prompt | None:
            over = load.seconds is not None and at >= load.seconds
            return None if over or next(left, None) is None else timetable.prompt(at)

        async def send(each: Prompt) -> None:
            totals.sent(time.perf_counter() - started)
            await sender.send(iter((each,)), sampling, 1, lambda exchange: totals.take(exchange, time.perf_counter() - started))

        watching = asyncio.ensure_future(_report(totals, quiet))
        try:
            if load.rate is None:
                await closed_loop(send, prompt, load.concurrency or 1)
                return 0
            return await open_loop(send, prompt, arrivals(load.rate, load.seed, even=load.even))
        finally:
            watching.cancel()


async def _report(totals: Totals, quiet: bool) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        summary: Summary = totals.summary()
        if not quiet:
            print(line(summary), flush=True)


async def _served(client: AsyncOpenAI) -> str:
    try:
        return (await client.models.list()).data[0].id
    except (OpenAIError, IndexError) as error:
        raise CliError(f"{client.base_url} does not say what it serves: {error}") from None


def _supply(files: tuple[Path, ...]) -> tuple[Supplying, tuple[str, ...]]:
    """The prompts of a domain by seed, and which domains there are: of the files, or the project's own."""
    if not files:
        return (lambda domain, seed: prompts(domain, seed, "traffic")), DOMAINS
    by_domain: dict[str, list[Prompt]] = {}
    for prompt in read_prompts(files):
        by_domain.setdefault(prompt.domain, []).append(prompt)

    def shuffled(domain: str, seed: int) -> Iterator[Prompt]:
        found = by_domain[domain][:]
        random.Random(seed).shuffle(found)
        return iter(found)

    return shuffled, tuple(by_domain)
