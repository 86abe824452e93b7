"""POST /v1/completions: a text, token ids, or a list of either; one choice for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from serving.api.admit import Ask, Head
from serving.api.answer import Answer, Delta
from serving.api.encode import encode_text
from serving.api.endpoint import answered, read_body
from serving.api.errors import InvalidRequest, shown
from serving.api.logprobs import CompletionLogprobs, LogprobWriter, joined, prompt_logprobs
from serving.api.openapi import documented
from serving.api.refusals import COMPLETION
from serving.api.resolve import Prompt, check_common, check_max_tokens, check_min_tokens, check_model, check_prompt
from serving.api.responses import Completion, CompletionChoice, Extras
from serving.api.schemas import CompletionBody
from serving.api.service import Service
from serving.text import TextTokenizer
from speculator.scored import Scored

DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""


def completion_routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/completions", **documented(CompletionBody, Completion))
    async def create_completion(request: Request) -> Response:
        """Continues a prompt."""
        body = await read_body(request, service, CompletionBody, COMPLETION)
        check_model(body, service)
        check_common(body, service)
        asks = [_ask(prompt, body, service) for prompt in await read_prompts(body.prompt, service)]
        return await answered(request, service, body, asks, prefix="cmpl", shape=CompletionShape)

    return router


def _ask(prompt: Prompt, body: CompletionBody, service: Service) -> Ask:
    check_prompt(prompt, service)
    room = service.settings.max_model_len - len(prompt.ids)
    max_tokens = min(DEFAULT_MAX_TOKENS, room) if body.max_tokens is None else body.max_tokens
    if max_tokens == 0 and not body.echo:
        raise InvalidRequest("max_tokens: expected an integer >= 1, got 0, which is for echo: true", "max_tokens")
    check_max_tokens(max_tokens, "max_tokens", prompt, service)
    check_min_tokens(body, max_tokens)
    return Ask(prompt, max_tokens, prompt.ids)


async def read_prompts(value: str | list[str | int | list[int]], service: Service) -> list[Prompt]:
    """The prompts that the field `prompt` holds. Raises InvalidRequest for a mixture, none or too many."""
    if isinstance(value, str):
        return [await _text_prompt(value, "prompt", service)]
    if not value:
        raise InvalidRequest("prompt: expected a text, token ids or a list of either, got an empty list", "prompt")
    kinds = {type(each) for each in value}
    if len(kinds) > 1:
        raise InvalidRequest(
            f"prompt: expected strings only, token ids only or lists of token ids only, got {shown(value)}",
            "prompt",
        )
    if kinds == {int}:
        return [Prompt(tuple(each for each in value if isinstance(each, int)), "prompt")]
    if len(value) > service.settings.max_prompts:
        raise InvalidRequest(f"prompt: expected at most {service.settings.max_prompts} prompts, got {len(value)}", "prompt")
    prompts = []
    for index, each in enumerate(value):
        field = f"prompt[{index}]"
        if isinstance(each, str):
            prompts.append(await _text_prompt(each, field, service))
        elif isinstance(each, list):
            prompts.append(Prompt(tuple(each), field))
    return prompts


async def _text_prompt(text: str, field: str, service: Service) -> Prompt:
    if not text:
        raise InvalidRequest(f"{field}: expected at least one character, got an empty string", field)
    return Prompt(await encode_text(service.tokenizer, text, field), field, text)


@dataclass(frozen=True, slots=True)
class CompletionShape:
    """`text_completion` objects; a chunk looks like a whole one."""

    head: Head
    body: CompletionBody
    tokenizer: TextTokenizer
    writers: dict[int, LogprobWriter] = field(default_factory=dict)
    """Of each choice, by index."""

    @property
    def with_ids(self) -> bool:
        return bool(self.body.return_token_ids)

    def opening(self, answer: Answer) -> None:
        return None

    def step(self, answer: Answer, delta: Delta, extras: Extras) -> Completion:
        choice = CompletionChoice(
            index=answer.index,
            text=(self._echo(answer) if delta.first else "") + delta.text,
            logprobs=self._logprobs(answer, delta.scored, delta.first),
            finish_reason=None,
            prompt_token_ids=answer.request.prompt_ids if self.with_ids and delta.first else UNSET,
            token_ids=delta.token_ids if self.with_ids else UNSET,
        )
        return self._completion((choice,), extras)

    def closing(self, answer: Answer, delta: Delta, extras: Extras) -> Completion:
        choice = CompletionChoice(index=answer.index, text="", finish_reason=delta.finish_reason, stop_reason=delta.stop_reason)
        return self._completion((choice,), extras)

    def summary(self, extras: Extras) -> Completion:
        return self._completion((), extras)

    def whole(self, answers: Sequence[Answer], extras: Extras) -> Completion:
        choices = tuple(
            CompletionChoice(
                index=answer.index,
                text=self._echo(answer) + answer.text,
                logprobs=self._logprobs(answer, answer.scored, first=True),
                finish_reason=answer.finish_reason,
                stop_reason=answer.stop_reason,
                prompt_token_ids=answer.request.prompt_ids if self.with_ids else UNSET,
                prompt_logprobs=prompt_logprobs(self.tokenizer, self.body.prompt_logprobs, answer.prompt_scored),
                token_ids=answer.token_ids if self.with_ids else UNSET,
            )
            for answer in answers
        )
        return self._completion(choices, extras)

    @property
    def _skip_special(self) -> bool:
        return self.body.skip_special_tokens is not False

    def _echo(self, answer: Answer) -> str:
        """The prompt, where the answer's text begins with it."""
        if not self.body.echo:
            return ""
        if answer.prompt_text is not None:
            return answer.prompt_text
        return self.tokenizer.decode(answer.request.prompt_ids, self._skip_special)

    def _logprobs(self, answer: Answer, scored: Sequence[Scored], first: bool) -> CompletionLogprobs | None:
        """first: they are the first of the answer's, and follow its prompt's where that is echoed."""
        num_top = self.body.logprobs
        if num_top is None:
            return None
        if answer.index not in self.writers:
            start = len(self._echo(answer))
            self.writers[answer.index] = LogprobWriter(self.tokenizer, num_top, self._skip_special, start)
        found = self.writers[answer.index].completion(scored)
        if not (first and self.body.echo):
            return found
        prompt = LogprobWriter(self.tokenizer, num_top, self._skip_special)
        return joined(prompt.prompt(answer.request.prompt_ids, answer.prompt_scored), found)

    def _completion(self, choices: tuple[CompletionChoice, ...], extras: Extras) -> Completion:
        return Completion(
            **self.head.envelope("text_completion"),
            choices=choices,
            usage=extras.usage,
            metrics=extras.metrics,
        )
