"""Traffic: prompts sent over HTTP with the official `openai` client, and a record of what came back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from openai import AsyncOpenAI, OpenAIError

from cli.demo.prompts import Prompt

STREAM_EVERY = 4
"""Every fourth request streams, so that both ways of answering carry traffic."""


class Speculation(msgspec.Struct, frozen=True):
    """What speculation did for one answer, as the server reports it."""

    num_spec_steps: int = 0
    """Verification steps with a draft."""
    num_plain_steps: int = 0
    """Verification steps without one."""
    num_accepted_draft_tokens: int = 0
    steps: dict[str, dict[str, int]] = {}
    """By source and version: steps in which it had a draft."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what came of it."""

    index: int
    domain: str
    temperature: float
    seed: int
    max_tokens: int
    latency: float
    """Seconds from sending to the last byte."""
    prompt_ids: tuple[int, ...] = ()
    output_ids: tuple[int, ...] = ()
    """Every token of the answer, the one that ended it included."""
    speculation: Speculation = Speculation()
    error: str | None = None
    """Why there is no answer; None: there is one."""

    @property
    def num_steps(self) -> int:
        """Verification steps."""
        return self.speculation.num_spec_steps + self.speculation.num_plain_steps

    @property
    def num_stepped(self) -> int:
        """Tokens that verification steps emitted: all but the first, which the prompt's own pass gives."""
        return max(len(self.output_ids) - 1, 0)

    @property
    def saw_a_swap(self) -> bool:
        """Whether a source drafted for it with more than one version."""
        return any(len(versions) > 1 for versions in self.speculation.steps.values())


class Sampling(msgspec.Struct, frozen=True):
    """How the requests of a stretch of traffic are sampled; each gets a seed of its own."""

    temperature: float
    seed: int


class _Answer(msgspec.Struct):
    prompt_ids: tuple[int, ...] = ()
    output_ids: tuple[int, ...] = ()
    speculation: Speculation = Speculation()


class Traffic:
    """Sends prompts, several at once. The client must not retry: a retried failure would pass unseen."""

    def __init__(self, client: AsyncOpenAI, model: str) -> None:
        assert client.max_retries == 0
        self._client = client
        self._model = model
        self._num_sent = 0

    async def send(
        self,
        prompts: Iterator[Prompt],
        sampling: Sampling,
        concurrency: int,
        record: Callable[[Exchange], None],
        *,
        learn: bool = True,
    ) -> None:
        """Sends until `prompts` ends; each exchange goes to `record` as it ends.

        learn: False asks the server not to learn from them (`store: false`).
        """

        async def sender() -> None:
            for prompt in prompts:
                record(await self._exchange(prompt, sampling, learn))

        await asyncio.gather(*(sender() for _ in range(concurrency)))

    async def _exchange(self, prompt: Prompt, sampling: Sampling, learn: bool) -> Exchange:
        index, self._num_sent = self._num_sent, self._num_sent + 1
        seed = sampling.seed + index
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "max_tokens": prompt.max_tokens,
            "temperature": sampling.temperature,
            "seed": seed,
            "store": learn,
            "metadata": {"domain": prompt.domain},
            "extra_body": {"return_token_ids": True, "speculative_metrics": True},
        }
        answer, error = _Answer(), None
        started = time.perf_counter()
        try:
            answer = await (self._streamed(body) if index % STREAM_EVERY == 0 else self._whole(body))
        except OpenAIError as failure:
            error = f"{type(failure).__name__}: {failure}"
        if error is None and not (answer.prompt_ids and answer.output_ids):
            error = "the answer came without token ids"
        return Exchange(
            index=index,
            domain=prompt.domain,
            temperature=sampling.temperature,
            seed=seed,
            max_tokens=prompt.max_tokens,
            latency=time.perf_counter() - started,
            prompt_ids=answer.prompt_ids,
            output_ids=answer.output_ids,
            speculation=answer.speculation,
            error=error,
        )

    async def _whole(self, body: dict[str, Any]) -> _Answer:
        response = await self._client.chat.completions.create(**body)
        return _Answer(
            _ids(response.model_extra, "prompt_token_ids"),
            _ids(response.choices[0].model_extra, "token_ids"),
            _speculation(response.model_extra) or Speculation(),
        )

    async def _streamed(self, body: dict[str, Any]) -> _Answer:
        answer = _Answer()
        stream = await self._client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
        async for chunk in stream:
            answer.prompt_ids = _ids(chunk.model_extra, "prompt_token_ids") or answer.prompt_ids
            answer.speculation = _speculation(chunk.model_extra) or answer.speculation
            for choice in chunk.choices:
                answer.output_ids += _ids(choice.model_extra, "token_ids")
        return answer


def _ids(extra: dict[str, Any] | None, field: str) -> tuple[int, ...]:
    return tuple((extra or {}).get(field) or ())


def _speculation(extra: dict[str, Any] | None) -> Speculation | None:
    """What the server said under `metrics.speculative_decoding`, if anything."""
    reported = ((extra or {}).get("metrics") or {}).get("speculative_decoding")
    return None if reported is None else msgspec.convert(reported, Speculation)
