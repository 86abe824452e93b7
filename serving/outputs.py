"""What an offline caller gets, by vLLM's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.trace import Typical
from serving.api.answer import Answer
from serving.api.logprobs import shown_token
from serving.messages import FinishReason
from serving.text import TextTokenizer
from speculator.scored import Scored


@dataclass(frozen=True, slots=True)
class Logprob:
    """Of one token at one position, by the target's raw scores."""

    logprob: float
    rank: int
    """1: the likeliest."""
    decoded_token: str


Logprobs = tuple[dict[int, Logprob], ...]
"""By position and token id: the likeliest tokens, and the one that stands there."""


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One choice."""

    index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None
    stop_reason: str | int | None
    """The stop string or stop token that ended it."""
    logprobs: Logprobs | None
    """None: not asked for."""
    lossy: Typical | None
    """How drafts were accepted that the target did not choose; None: the answer is exact."""


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """A prompt and its choices."""

    prompt: str | None
    """None: it was given as token ids, or as a conversation."""
    prompt_token_ids: tuple[int, ...]
    prompt_logprobs: tuple[dict[int, Logprob] | None, ...] | None
    """None at the first position; None: not asked for."""
    outputs: tuple[CompletionOutput, ...]


def output_of(answers: Sequence[Answer], tokenizer: TextTokenizer) -> RequestOutput:
    """Of the finished choices of one prompt."""
    first = answers[0]
    asked = first.request.prompt_logprobs is not None
    return RequestOutput(
        prompt=first.prompt_text,
        prompt_token_ids=first.request.prompt_ids,
        prompt_logprobs=(None, *_logprobs(first.prompt_scored, tokenizer)) if asked else None,
        outputs=tuple(_output(answer, tokenizer) for answer in answers),
    )


def _output(answer: Answer, tokenizer: TextTokenizer) -> CompletionOutput:
    return CompletionOutput(
        index=answer.index,
        text=answer.text,
        token_ids=answer.token_ids,
        finish_reason=answer.finish_reason,
        stop_reason=answer.stop_reason,
        logprobs=None if answer.request.logprobs is None else _logprobs(answer.scored, tokenizer),
        lossy=answer.request.lossy,
    )


def _logprobs(scored: Sequence[Scored], tokenizer: TextTokenizer) -> Logprobs:
    def one(token: int, logprob: float, rank: int) -> Logprob:
        return Logprob(logprob, rank, shown_token(tokenizer.token_bytes(token)))

    return tuple(
        {token: one(token, value, rank) for rank, (token, value) in enumerate(each.top, 1)}
        | {each.token: one(each.token, each.logprob, each.rank)}
        for each in scored
    )
