"""POST /v1/chat/completions: a conversation in, the assistant's next message out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from serving.api.admit import Ask, Head
from serving.api.answer import Answer, Delta
from serving.api.encode import encode_messages
from serving.api.endpoint import answered, read_body
from serving.api.errors import InvalidRequest, shown
from serving.api.logprobs import ChatLogprobs, LogprobWriter, prompt_logprobs
from serving.api.openapi import documented
from serving.api.refusals import CHAT
from serving.api.resolve import Prompt, check_common, check_max_tokens, check_min_tokens, check_model, check_prompt
from serving.api.responses import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatMessage,
    Extras,
    TokenIds,
)
from serving.api.schemas import ChatBody, Message
from serving.api.service import Service
from serving.text import TextTokenizer
from speculator.scored import Scored

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Roles a client may name, and what the chat template knows them as."""


def chat_routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions", **documented(ChatBody, ChatCompletion))
    async def create_chat_completion(request: Request) -> Response:
        """Answers a conversation."""
        body = await read_body(request, service, ChatBody, CHAT)
        if body.top_logprobs and not body.logprobs:
            raise InvalidRequest("top_logprobs: expected only together with logprobs: true", "top_logprobs")
        check_model(body, service)
        check_common(body, service)
        ask = await _ask(body, service)
        return await answered(request, service, body, [ask], prefix="chatcmpl", shape=ChatShape)

    return router


async def _ask(body: ChatBody, service: Service) -> Ask:
    messages = read_messages(body.messages)
    prompt = Prompt(await encode_messages(service.tokenizer, messages), "messages")
    check_prompt(prompt, service)
    opening = next((each["content"] for each in messages if each["role"] == "user"), messages[0]["content"])
    field = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    max_tokens = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if max_tokens is None:
        max_tokens = service.settings.max_model_len - len(prompt.ids)
    check_max_tokens(max_tokens, field, prompt, service)
    check_min_tokens(body, max_tokens)
    return Ask(prompt, max_tokens, opening)


def read_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Role and text of each message, as the chat template takes them. Raises InvalidRequest."""
    if not messages:
        raise InvalidRequest("messages: expected at least one message, got none", "messages")
    return [
        {"role": _role(message, f"messages[{index}]"), "content": _text(message, f"messages[{index}]")}
        for index, message in enumerate(messages)
    ]


def _role(message: Message, field: str) -> str:
    if message.role not in _ROLES:
        raise InvalidRequest(f"{field}.role: expected one of {', '.join(_ROLES)}, got {shown(message.role)}", f"{field}.role")
    return _ROLES[message.role]


def _text(message: Message, field: str) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for index, part in enumerate(message.content):
        where = f"{field}.content[{index}]"
        if part.type != "text":
            raise InvalidRequest(f"{where}.type: expected text, got {shown(part.type)}", f"{where}.type")
        if part.text is None:
            raise InvalidRequest(f"{where}.text: required, but missing", f"{where}.text")
        texts.append(part.text)
    return "\n".join(texts)


@dataclass(frozen=True, slots=True)
class ChatShape:
    """`chat.completion` objects, and their chunks."""

    head: Head
    body: ChatBody
    tokenizer: TextTokenizer

    @property
    def with_ids(self) -> bool:
        return bool(self.body.return_token_ids)

    def opening(self, answer: Answer) -> ChatChunk:
        delta = ChatDelta(role="assistant", content="")
        prompt_ids = answer.request.prompt_ids if self.with_ids else UNSET
        return self._chunk((ChatChunkChoice(index=answer.index, delta=delta),), Extras(), prompt_ids)

    def step(self, answer: Answer, delta: Delta, extras: Extras) -> ChatChunk:
        choice = ChatChunkChoice(
            index=answer.index,
            delta=ChatDelta(content=delta.text),
            logprobs=self._logprobs(delta.scored),
            token_ids=delta.token_ids if self.with_ids else UNSET,
        )
        return self._chunk((choice,), extras)

    def closing(self, answer: Answer, delta: Delta, extras: Extras) -> ChatChunk:
        choice = ChatChunkChoice(
            index=answer.index,
            delta=ChatDelta(),
            finish_reason=delta.finish_reason,
            stop_reason=delta.stop_reason,
        )
        return self._chunk((choice,), extras)

    def summary(self, extras: Extras) -> ChatChunk:
        return self._chunk((), extras)

    def whole(self, answers: Sequence[Answer], extras: Extras) -> ChatCompletion:
        choices = tuple(
            ChatChoice(
                index=answer.index,
                message=ChatMessage(content=answer.text),
                logprobs=self._logprobs(answer.scored),
                finish_reason=answer.finish_reason,
                stop_reason=answer.stop_reason,
                token_ids=answer.token_ids if self.with_ids else UNSET,
            )
            for answer in answers
        )
        return ChatCompletion(
            **self.head.envelope("chat.completion"),
            choices=choices,
            usage=extras.usage,
            metrics=extras.metrics,
            prompt_token_ids=answers[0].request.prompt_ids if self.with_ids else UNSET,
            prompt_logprobs=prompt_logprobs(self.tokenizer, self.body.prompt_logprobs, answers[0].prompt_scored),
        )

    def _logprobs(self, scored: Sequence[Scored]) -> ChatLogprobs | None:
        wanted = self.body.num_logprobs
        return None if wanted is None else LogprobWriter(self.tokenizer, wanted).chat(scored)

    def _chunk(self, choices: tuple[ChatChunkChoice, ...], extras: Extras, prompt_ids: TokenIds = UNSET) -> ChatChunk:
        return ChatChunk(
            **self.head.envelope("chat.completion.chunk"),
            choices=choices,
            usage=extras.usage,
            metrics=extras.metrics,
            prompt_token_ids=prompt_ids,
        )
