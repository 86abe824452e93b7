"""What a request may hold. Other fields are ignored, as vLLM does, unless `refusals` names them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from serving.api.structured import JsonSchema, ResponseFormat, StructuredOutputs

MIN_SEED, MAX_SEED = -(2**63), 2**63 - 1
MAX_COUNT = 2**31 - 1
MAX_TOP = 20
"""Of the likeliest tokens, told at each position."""
MAX_CHOICES = 128
"""Of one prompt; OpenAI's."""

Count = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
NumTop = Annotated[int, Meta(ge=0, le=MAX_TOP)]


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    include_usage: bool | None = None
    """One more chunk before the end, without choices, that holds the usage."""
    continuous_usage_stats: bool | None = None
    """With `include_usage`: every chunk holds the usage so far."""

    @property
    def asks_for_something(self) -> bool:
        return bool(self.include_usage or self.continuous_usage_stats)


class GenerationBody(msgspec.Struct, frozen=True, kw_only=True):
    """What both completion endpoints take. `null` always means: as if absent."""

    model: str | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """0: greedy; default 1."""
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=MAX_COUNT)] | None = None
    """-1 or 0: off."""
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    priority: Annotated[int, Meta(ge=-MAX_COUNT, le=MAX_COUNT)] | None = None
    """Where not all can be served at once, less goes first."""
    seed: Annotated[int, Meta(ge=MIN_SEED, le=MAX_SEED)] | None = None
    """Absent: one is drawn."""
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    """Choices for each prompt, with one seed."""
    best_of: Count | None = None
    """Refused beyond `n`."""
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    """Of tokens in prompt and answer; 1: off."""
    presence_penalty: Penalty | None = None
    """Of tokens in the answer; so is `frequency_penalty`, for each time that they occur."""
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    """Added to the scores of token ids."""
    allowed_token_ids: list[int] | None = None
    """All other tokens are ruled out."""
    bad_words: list[str] | None = None
    """The answer holds none of them, as far as they are written in the tokenizer's own tokens."""
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None = None
    """Before so many tokens nothing stops the answer."""
    prompt_logprobs: NumTop | None = None
    """Log-probabilities of the prompt, with so many of the likeliest tokens at each position; not in a stream."""
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    store: bool | None = None
    """False: nobody may learn from this request."""
    metadata: dict[str, str] | None = None
    """`conversation` groups requests; `domain` labels them in statistics, and what drafted well for others of that label drafts
    for them too; the rest is ignored."""
    speculative: bool | None = None
    """False: decode plainly. Changes the speed, never the answer."""
    lossy_acceptance: bool | None = None
    """True: more of the drafts is accepted than the target would say, if the temperature is above 0: the answer comes sooner and
    is not the target's own; refused where the server does not allow it. False: it is exact. Absent: as the server does."""
    speculative_metrics: bool | None = None
    """Report how speculation went for this request."""
    return_token_ids: bool | None = None
    response_format: ResponseFormat | None = None
    """What the answer has to look like: this, `structured_outputs` or one of the older `guided_*`."""
    structured_outputs: StructuredOutputs | None = None
    guided_json: JsonSchema | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    """In the notation of Lark or GBNF."""

    @property
    def num_logprobs(self) -> int | None:
        """How many of the likeliest tokens are told at each position; None: no log-probabilities are."""
        raise NotImplementedError

    @property
    def num_prompt_logprobs(self) -> int | None:
        """The same of the prompt."""
        return self.prompt_logprobs


class CompletionBody(GenerationBody, frozen=True, kw_only=True):
    """POST /v1/completions"""

    prompt: str | list[str | int | list[int]]
    """A text, its token ids, or a list of either."""
    max_tokens: Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None = None
    """0 is for `echo` alone."""
    logprobs: NumTop | None = None
    echo: bool | None = None
    """The answer begins with the prompt; so do its log-probabilities."""

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def num_prompt_logprobs(self) -> int | None:
        asked = [each for each in (self.prompt_logprobs, self.logprobs if self.echo else None) if each is not None]
        return max(asked, default=None)


class ContentPart(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    text: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    content: str | list[ContentPart]


class ChatBody(GenerationBody, frozen=True, kw_only=True):
    """POST /v1/chat/completions"""

    messages: list[Message]
    max_completion_tokens: Count | None = None
    """The newer name of `max_tokens`; it wins where both are given."""
    logprobs: bool | None = None
    top_logprobs: NumTop | None = None
    """Of the likeliest tokens, with `logprobs`."""

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None
