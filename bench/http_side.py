"""A server of its own and a closed loop of HTTP clients on it."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from openai import AsyncOpenAI

from bench.errors import BenchError
from bench.rig import Answer, Ask
from bench.stack import Stack

_STARTING_SECONDS = 120.0


class Server:
    """`everdraft serve` in a process of its own, ready once built."""

    def __init__(self, stack: Stack, flags: dict[str, str], name: str) -> None:
        """flags: beyond the run's own, by option name. Raises BenchError if it does not start."""
        self.data = stack.folder / name
        port = _free_port()
        everything = {**stack.flags, "data": str(self.data), "port": str(port), **flags}
        self._child = stack.child("serve", everything, name)
        self._url = f"http://127.0.0.1:{port}"
        self._await_ready()

    def run(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        """Keeps `concurrency` requests under way; answers in the order of the asks, each with the seconds that its slot took."""
        return asyncio.run(self._run(asks, concurrency))

    def stop(self) -> None:
        self._child.stop()

    async def _run(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        answers = [Answer(ask) for ask in asks]
        left = iter(answers)

        async def slot() -> None:
            since = time.perf_counter()
            for answer in left:
                answer.token_ids = await _completion(client, model, answer.ask)
                now = time.perf_counter()
                answer.seconds, answer.num_timed, since = now - since, len(answer.token_ids), now

        async with AsyncOpenAI(base_url=f"{self._url}/v1", api_key="none", max_retries=0) as client:
            model = (await client.models.list()).data[0].id
            await asyncio.gather(*(slot() for _ in range(concurrency)))
        return answers

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _STARTING_SECONDS
        while not _answers(f"{self._url}/ready"):
            self._child.check()
            if time.monotonic() > deadline:
                self._child.stop()
                raise BenchError(f"no server at {self._url} after {_STARTING_SECONDS:g} s")
            time.sleep(0.2)


async def _completion(client: AsyncOpenAI, model: str, ask: Ask) -> list[int]:
    completion = await client.completions.create(
        model=model,
        prompt=list(ask.prompt_ids),
        max_tokens=ask.max_tokens,
        temperature=ask.temperature,
        seed=ask.seed,
        extra_body={"return_token_ids": True, "metadata": {"domain": ask.domain}},
    )
    token_ids: list[int] = (completion.choices[0].model_extra or {})["token_ids"]
    return token_ids


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
