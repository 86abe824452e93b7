"""SamplingParams: what an offline caller asks of an answer, by vLLM's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from serving.api.body import convert
from serving.api.errors import InvalidRequest
from serving.api.schemas import CompletionBody


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """Means what the fields of POST /v1/completions mean. Raises ValueError, naming the field, for a value that cannot work."""

    n: int = 1
    max_tokens: int | None = 16
    """None: as many as the model's context holds."""
    min_tokens: int = 0
    temperature: float = 1.0
    """0: greedy."""
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    priority: int = 0
    seed: int | None = None
    """None: one is drawn for each prompt."""
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    structured_outputs: Mapping[str, Any] | None = None
    """What the answer has to look like: one of `json`, `regex`, `choice`, `grammar`, as in the field of that name."""
    lossy_acceptance: bool | None = None
    """True: sooner, and not the target's own, where `LLM` allows it. None: as `LLM` does."""
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None
    """How many of the likeliest tokens are told at each position; None: no log-probabilities."""
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens: expected an integer >= 1 or None, got {self.max_tokens}")
        _ = self.body

    @cached_property
    def body(self) -> CompletionBody:
        """As a client would send it, but for the prompt."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.logit_bias is not None:
            values["logit_bias"] = {str(token): value for token, value in self.logit_bias.items()}
        try:
            return convert({**values, "prompt": ""}, CompletionBody)
        except InvalidRequest as error:
            raise ValueError(str(error)) from None
