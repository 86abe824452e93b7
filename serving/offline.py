"""LLM: the engine as a library, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Self, TypeVar

import msgspec

from models.loading import bundled_target, load_target
from pipelines.trace import TYPICAL, Typical
from serving.api.admit import Ask, Head, admit
from serving.api.answer import Answer
from serving.api.chat import read_messages
from serving.api.completions import read_prompts
from serving.api.constrain import constraint_of
from serving.api.encode import encode_messages
from serving.api.errors import InvalidRequest
from serving.api.generate import generate
from serving.api.metrics import Metrics
from serving.api.resolve import Prompt, check_common, check_max_tokens, check_min_tokens, check_prompt
from serving.api.schemas import Message
from serving.api.service import Admission, Service
from serving.api.settings import ApiSettings
from serving.assemble import build_engine
from serving.local import LocalLink
from serving.lossy import Allowance, Lossy
from serving.outputs import RequestOutput, output_of
from serving.sampling_params import SamplingParams
from serving.settings import EngineSettings
from serving.traffic import TenantPolicy, TrafficRecorder

T = TypeVar("T")
Conversation = Sequence[dict[str, Any]]
Params = SamplingParams | Sequence[SamplingParams] | None
"""For all prompts, or one for each; None: the defaults."""

_MANY = 1 << 30
"""Prompts wait for their turn here: nobody has to be told to come back."""


class LLM:
    """A target and its speculators in this process; answers are those of the server, choice for choice.

        from everdraft import LLM, SamplingParams

        with LLM(target="./my-model", max_running=8) as llm:
            for answer in llm.generate(["Once upon a time", "The moon"], SamplingParams(temperature=0.8, n=2)):
                for choice in answer.outputs:
                    print(answer.prompt, "->", choice.text)
            print(llm.chat([{"role": "user", "content": "Hello!"}])[0].outputs[0].text)

    Nothing is logged. Suffix trees learn from one call for the next.
    """

    def __init__(
        self,
        target: str = "",
        *,
        lossy_acceptance: Allowance = "off",
        lossy_epsilon: float = TYPICAL.epsilon,
        lossy_delta: float = TYPICAL.delta,
        **settings: Any,
    ) -> None:
        """target: a folder or hub id; empty: the bundled one. lossy_…: as the server's options, see `serving.lossy`.
        settings: those of `serving.settings.EngineSettings`.

        Raises ModelError, or ValueError naming the setting. Prompts may wait in any number.
        """
        lossy = Lossy(lossy_acceptance=lossy_acceptance, typical=Typical(epsilon=lossy_epsilon, delta=lossy_delta))
        engine = EngineSettings(target=target or str(bundled_target()), **{"max_waiting": _MANY, **settings})
        loaded = load_target(engine.target, revision=engine.revision, dtype=engine.dtype, device=engine.device)  # type: ignore[arg-type]
        self._engine = build_engine(engine, loaded)
        longest = min(loaded.config.max_positions, engine.max_cached_tokens)
        self._service = Service(
            engine=LocalLink(self._engine),
            tokenizer=loaded.tokenizer,
            settings=ApiSettings(
                model=loaded.name, max_model_len=longest, lossy=lossy, max_in_flight=_MANY, max_prompts=_MANY
            ),
            traffic=TrafficRecorder(None, TenantPolicy(default="tenant"), loaded.fingerprint, loaded.tokenizer.fingerprint),
            metrics=Metrics(loaded.name),
            admission=Admission(_MANY, retry_after=1),
            prover=None,
        )

    def generate(
        self,
        prompts: str | list[str] | list[int] | list[list[int]],
        sampling_params: Params = None,
    ) -> list[RequestOutput]:
        """Continues a prompt or several, texts or token ids, in their order.

        Raises ValueError, naming the prompt or the field; nothing is generated then.
        """
        return self._answered(lambda: read_prompts(prompts, self._service), sampling_params)  # type: ignore[arg-type]

    def chat(self, messages: Conversation | Sequence[Conversation], sampling_params: Params = None) -> list[RequestOutput]:
        """Answers a conversation or several; otherwise as `generate`."""
        several = messages if messages and not isinstance(messages[0], dict) else [messages]
        return self._answered(lambda: self._conversations(several), sampling_params)  # type: ignore[arg-type]

    def close(self) -> None:
        """Ends what runs beside the engine."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answered(self, read: Callable[[], Awaitable[list[Prompt]]], sampling_params: Params) -> list[RequestOutput]:
        async def run() -> list[list[Answer]]:
            prompts = await read()
            wanted = _for_each(prompts, sampling_params)
            groups = [await self._admitted(*each) for each in zip(prompts, wanted, strict=True)]
            async with aclosing(generate(self._service, [answer for group in groups for answer in group])) as steps:
                async for _ in steps:
                    pass
            return groups

        try:
            groups = _finished(run)
        except InvalidRequest as error:
            raise ValueError(str(error)) from None
        return [output_of(group, self._service.tokenizer) for group in groups]

    async def _admitted(self, prompt: Prompt, sampling: SamplingParams) -> list[Answer]:
        service, body = self._service, sampling.body
        check_common(body, service)
        check_prompt(prompt, service)
        room = service.settings.max_model_len - len(prompt.ids)
        max_tokens = room if body.max_tokens is None else body.max_tokens
        check_max_tokens(max_tokens, "max_tokens", prompt, service)
        check_min_tokens(body, max_tokens)
        constraint = await constraint_of(body, service.prover)
        ask = Ask(prompt, max_tokens, prompt.ids)
        return admit(service, body, [ask], Head.new("offline", body, service), "default", constraint)

    async def _conversations(self, several: Sequence[Conversation]) -> list[Prompt]:
        prompts = []
        for conversation in several:
            try:
                messages = read_messages(msgspec.convert(conversation, list[Message]))
            except msgspec.ValidationError as error:
                raise InvalidRequest(f"messages: {error}", "messages") from None
            prompts.append(Prompt(await encode_messages(self._service.tokenizer, messages), "messages"))
        return prompts


def _for_each(prompts: Sequence[Prompt], sampling_params: Params) -> Sequence[SamplingParams]:
    if sampling_params is None or isinstance(sampling_params, SamplingParams):
        return [sampling_params or SamplingParams()] * len(prompts)
    if len(sampling_params) != len(prompts):
        raise ValueError(f"sampling_params: expected one for each of {len(prompts)} prompts, got {len(sampling_params)}")
    return sampling_params


def _finished(run: Callable[[], Awaitable[T]]) -> T:
    """What `run` returns; on a thread of its own where this one has an event loop already, as in a notebook."""

    async def whole() -> T:
        return await run()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, whole()).result()
