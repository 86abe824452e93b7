"""What goes back to clients: OpenAI's objects, with vLLM's additions. Fields left `UNSET` are not sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict

import msgspec
from msgspec import UNSET, UnsetType

from pipelines.trace import Typical
from serving.api.answer import Answer
from serving.api.logprobs import ChatLogprobs, CompletionLogprobs, PromptLogprobs
from serving.api.stats import RequestMetrics
from serving.messages import FinishReason

TokenIds = tuple[int, ...] | UnsetType


class PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int
    """Those that did not have to be read: their keys and values were kept from an earlier request."""


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | UnsetType = UNSET
    """Known once everything is read: not in chunks."""


def usage_of(answers: Iterable[Answer]) -> Usage:
    """Tokens of all answers so far."""
    counted = list(answers)
    prompt, completion = num_prompt_tokens(counted), sum(answer.num_emitted for answer in counted)
    cached = sum(answer.num_cached for answer in counted if answer.request.choice == 0)
    return Usage(prompt, completion, prompt + completion, PromptDetails(cached))


def num_prompt_tokens(answers: Iterable[Answer]) -> int:
    """Of all prompts, each counted once, however many choices it has."""
    return sum(len(answer.request.prompt_ids) for answer in answers if answer.request.choice == 0)


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What only some responses carry, because it was asked for."""

    usage: Usage | UnsetType = UNSET
    metrics: RequestMetrics | UnsetType = UNSET


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What every object and chunk of one response begins with."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    lossy: Typical | UnsetType = UNSET
    """The answer is not the target's own: more of the drafts was accepted than it would have said, by these thresholds."""


class EnvelopeFields(TypedDict):
    """Those of `Envelope`, to make one of."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    lossy: Typical | UnsetType


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Of a whole completion and of a chunk alike."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None
    stop_reason: str | int | None = None
    prompt_token_ids: TokenIds = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    token_ids: TokenIds = UNSET


class Completion(Envelope, frozen=True, kw_only=True):
    choices: tuple[CompletionChoice, ...]
    usage: Usage | UnsetType = UNSET
    metrics: RequestMetrics | UnsetType = UNSET


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None
    stop_reason: str | int | None = None
    token_ids: TokenIds = UNSET


class ChatCompletion(Envelope, frozen=True, kw_only=True):
    choices: tuple[ChatChoice, ...]
    usage: Usage | UnsetType = UNSET
    metrics: RequestMetrics | UnsetType = UNSET
    prompt_token_ids: TokenIds = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET


class ChatDelta(msgspec.Struct, frozen=True, kw_only=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    token_ids: TokenIds = UNSET


class ChatChunk(Envelope, frozen=True, kw_only=True):
    choices: tuple[ChatChunkChoice, ...]
    usage: Usage | UnsetType = UNSET
    metrics: RequestMetrics | UnsetType = UNSET
    prompt_token_ids: TokenIds = UNSET
