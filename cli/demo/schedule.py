"""The schedule: traffic phase by phase, then fresh prompts that nobody learns from."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from itertools import islice

from openai import AsyncOpenAI

from cli.demo.options import DemoOptions
from cli.demo.progress import Progress
from cli.demo.prompts import Prompt
from cli.demo.recorder import Recorder
from cli.demo.stack import Stack
from cli.demo.supply import Supply, mixed
from cli.demo.traffic import Exchange, Sampling, Traffic

POLL = 0.5
"""Seconds between two looks at the stack's status."""
TIMEOUT = 60.0
"""Seconds after which a request counts as failed."""
MAX_FAILED = 20
"""Failed requests after which the run ends: a dead server would be asked without end."""


class Schedule:
    """One run of traffic against a stack."""

    def __init__(self, stack: Stack, supply: Supply, options: DemoOptions, progress: Progress) -> None:
        self._stack = stack
        self._supply = supply
        self._options = options
        self._progress = progress
        self._started = time.perf_counter()
        self._under_way = True
        self.recorder = Recorder(stack.status())
        self.evaluated: list[Exchange] = []
        """Exchanges after the traffic: fresh prompts, sampled and greedy."""
        self.num_too_long = 0
        """Prompts left out because the model could not take them."""

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started

    async def run(self) -> None:
        """Sends everything. Raises what the stack raises when it is gone."""
        client = AsyncOpenAI(base_url=self._stack.base_url, api_key=self._stack.api_key, max_retries=0, timeout=TIMEOUT)
        async with client:
            traffic = Traffic(client, self._stack.model)
            await asyncio.gather(self._phases(traffic), self._watch())
            await asyncio.to_thread(self._stack.stop_training)
            self.recorder.observe(await asyncio.to_thread(self._stack.status), self.seconds)
            for temperature in dict.fromkeys((self._options.temperature, 0.0)):
                await self._evaluate(traffic, temperature)

    async def _phases(self, traffic: Traffic) -> None:
        try:
            for number in range(len(self._supply.phases)):
                await self._phase(traffic, number)
        finally:
            self._under_way = False

    async def _phase(self, traffic: Traffic, number: int) -> None:
        domains = self._supply.phases[number]
        times = self._options.phase_seconds
        end = self.seconds + times[min(number, len(times) - 1)]
        last = number == len(self._supply.phases) - 1
        self.recorder.begin(domains)

        def goes_on() -> bool:
            waiting = last and not self.recorder.swapped_in_this_phase()
            patience = self._options.patience if waiting else 0.0
            return self.recorder.num_failed < MAX_FAILED and self.seconds < end + patience

        sources = [self._supply.traffic[domain] for domain in domains]
        prompts = self._fitting(mixed(sources, random.Random(f"{self._options.seed}:{number}")))
        limited = islice(_while(goes_on, prompts), self._options.phase_requests)
        await self._send(traffic, limited, self._options.temperature, self.recorder.record)

    async def _evaluate(self, traffic: Traffic, temperature: float) -> None:
        self._progress.note(f"Fresh prompts at temperature {temperature:g}, which nobody learns from …")
        end = self.seconds + self._options.evaluation_seconds
        sources = [islice(source, self._options.num_evaluated) for source in self._supply.evaluation.values()]
        prompts = self._fitting(mixed(sources, random.Random(self._options.seed)))
        limited = _while(lambda: self.seconds < end, prompts)
        await self._send(traffic, limited, temperature, self.evaluated.append, learn=False)

    async def _send(
        self,
        traffic: Traffic,
        prompts: Iterator[Prompt],
        temperature: float,
        record: Callable[[Exchange], None],
        learn: bool = True,
    ) -> None:
        sampling = Sampling(temperature, 1_000_000 * self._options.seed)
        await traffic.send(prompts, sampling, self._options.concurrency, record, learn=learn)

    def _fitting(self, prompts: Iterator[Prompt]) -> Iterator[Prompt]:
        for prompt in prompts:
            if self._stack.num_prompt_tokens(prompt.messages) + prompt.max_tokens <= self._stack.max_length:
                yield prompt
            else:
                self.num_too_long += 1

    async def _watch(self) -> None:
        while self._under_way:
            self.recorder.observe(await asyncio.to_thread(self._stack.status), self.seconds)
            self._progress.update(self.recorder.snapshot())
            await asyncio.sleep(POLL)


def _while(goes_on: Callable[[], bool], prompts: Iterator[Prompt]) -> Iterator[Prompt]:
    """`prompts` for as long as `goes_on()`, which is asked before each is taken."""
    while goes_on():
        prompt = next(prompts, None)
        if prompt is None:
            return
        yield prompt
