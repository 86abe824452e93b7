"""The target's own answers to prompts, from an engine in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cli.demo.prompts import Prompt
from models.loading import Target
from serving.engine import Engine
from serving.messages import Request
from speculator.batch import Sampling

_GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt and its answer, as token ids."""

    domain: str
    tenant: str
    tokens: tuple[int, ...]
    num_prompt: int
    sampling: Sampling = _GREEDY
    """How the answer was chosen."""

    @property
    def output_ids(self) -> tuple[int, ...]:
        return self.tokens[self.num_prompt :]


def answered(
    engine: Engine, target: Target, prompts: Sequence[Prompt], *, temperature: float, seed: int = 0, at_once: int = 8
) -> Iterator[Text]:
    """The prompts with their answers, as they finish. Prompts that leave no room for an answer are left out.

    at_once: answers under way at the same time. Each prompt has a seed of its own.
    """
    waiting = iter(_requests(target, prompts, temperature, seed))
    running: dict[int, tuple[Request, Prompt, list[int]]] = {}
    while True:
        for request, prompt in itertools.islice(waiting, at_once - len(running)):
            refused = engine.submit(request)
            assert refused is None, refused
            running[request.id] = (request, prompt, [])
        if not running:
            return
        for moved in engine.step():
            running[moved.id][2].extend(moved.token_ids)
            if moved.finish_reason is not None:
                request, prompt, said = running.pop(moved.id)
                sampling = Sampling(temperature=request.temperature, seed=request.seed, max_tokens=request.max_tokens)
                yield Text(prompt.domain, "default", (*request.prompt_ids, *said), len(request.prompt_ids), sampling)


def _requests(target: Target, prompts: Sequence[Prompt], temperature: float, seed: int) -> Iterator[tuple[Request, Prompt]]:
    for number, prompt in enumerate(prompts, 1):
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        ids = target.tokenizer.apply_chat_template(turns)
        if len(ids) + prompt.max_tokens <= target.config.max_positions:
            request = Request(
                id=number,
                prompt_ids=tuple(ids),
                max_tokens=prompt.max_tokens,
                temperature=temperature,
                seed=seed + number,
                stop_ids=tuple(target.eos_ids),
            )
            yield request, prompt
