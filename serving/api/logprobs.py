"""Log-probabilities as clients read them: OpenAI's two formats, and vLLM's of prompts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from serving.text import TextOffsets, TextTokenizer
from speculator.scored import Scored

_LEAST = -9999.0
"""Sent for minus infinity, which JSON cannot say; vLLM's."""


class TopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]


class TokenLogprob(TopLogprob, frozen=True):
    top_logprobs: tuple[TopLogprob, ...]


class ChatLogprobs(msgspec.Struct, frozen=True):
    content: tuple[TokenLogprob, ...]
    refusal: None = None


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """Columns; null where a prompt's first token stands."""

    text_offset: tuple[int, ...]
    token_logprobs: tuple[float | None, ...]
    tokens: tuple[str, ...]
    top_logprobs: tuple[dict[str, float] | None, ...]


class PromptLogprob(msgspec.Struct, frozen=True):
    logprob: float
    rank: int | None
    decoded_token: str


PromptLogprobs = tuple[dict[str, PromptLogprob] | None, ...]
"""By token id as text, at each position of the prompt; null at the first."""


def shown_token(data: bytes) -> str:
    """A token as text; one that is part of a character as OpenAI writes it: `bytes:\\xe2\\x82`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class LogprobWriter:
    """Writes the log-probabilities of one answer, as they come.

    num_top: of the likeliest tokens to tell. start: characters before the answer's text, where it follows its prompt.
    """

    def __init__(self, tokenizer: TextTokenizer, num_top: int, skip_special: bool = True, start: int = 0) -> None:
        self._tokenizer = tokenizer
        self._num_top = num_top
        self._offsets = TextOffsets(tokenizer, skip_special, start)

    def chat(self, scored: Sequence[Scored]) -> ChatLogprobs:
        return ChatLogprobs(tuple(self._chat_token(each) for each in scored))

    def completion(self, scored: Sequence[Scored]) -> CompletionLogprobs:
        """`top_logprobs` holds the token itself, too, so that there may be one more than was asked for."""
        return CompletionLogprobs(
            text_offset=tuple(self._offsets.push([each.token for each in scored])),
            token_logprobs=tuple(_finite(each.logprob) for each in scored),
            tokens=tuple(self._text(each.token) for each in scored),
            top_logprobs=tuple(
                {self._text(token): _finite(value) for token, value in (*self._top(each), (each.token, each.logprob))}
                for each in scored
            ),
        )

    def prompt(self, prompt_ids: Sequence[int], scored: Sequence[Scored]) -> CompletionLogprobs:
        """As `completion`, and before it the first token, of which nothing can be said."""
        first = CompletionLogprobs(tuple(self._offsets.push(prompt_ids[:1])), (None,), (self._text(prompt_ids[0]),), (None,))
        return joined(first, self.completion(scored))

    def by_id(self, scored: Scored) -> dict[str, PromptLogprob]:
        found = {
            str(token): PromptLogprob(_finite(value), rank, self._text(token))
            for rank, (token, value) in enumerate(self._top(scored), 1)
        }
        return found | {str(scored.token): PromptLogprob(_finite(scored.logprob), scored.rank, self._text(scored.token))}

    def _chat_token(self, scored: Scored) -> TokenLogprob:
        own, top = self._logprob(scored.token, scored.logprob), self._top(scored)
        return TokenLogprob(own.token, own.logprob, own.bytes, tuple(self._logprob(*each) for each in top))

    def _logprob(self, token: int, value: float) -> TopLogprob:
        data = self._tokenizer.token_bytes(token)
        return TopLogprob(shown_token(data), _finite(value), tuple(data))

    def _top(self, scored: Scored) -> tuple[tuple[int, float], ...]:
        return scored.top[: self._num_top]

    def _text(self, token: int) -> str:
        return shown_token(self._tokenizer.token_bytes(token))


def prompt_logprobs(tokenizer: TextTokenizer, num_top: int | None, scored: Sequence[Scored]) -> PromptLogprobs | UnsetType:
    """By position and token id; None of the likeliest are wanted: nothing."""
    return UNSET if num_top is None else (None, *(LogprobWriter(tokenizer, num_top).by_id(each) for each in scored))


def joined(first: CompletionLogprobs, second: CompletionLogprobs) -> CompletionLogprobs:
    return CompletionLogprobs(
        first.text_offset + second.text_offset,
        first.token_logprobs + second.token_logprobs,
        first.tokens + second.tokens,
        first.top_logprobs + second.top_logprobs,
    )


def _finite(value: float) -> float:
    return max(value, _LEAST)
