"""From a request's fields to what the engine is asked: defaults filled in, the seed drawn, limits checked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from pipelines.trace import Edits, Typical
from serving.api.bad_words import bad_words_of
from serving.api.errors import InvalidRequest, NotFound, shown
from serving.api.schemas import GenerationBody
from serving.api.service import Service
from serving.messages import Request

MAX_STOPS = 64
MAX_STOP_CHARS = 1000
MAX_METADATA_CHARS = 512
MAX_DIGITS = 10
"""Of a token id."""

_MIN_TEMPERATURE = 0.01
"""Lower ones but 0 overflow when logits are divided by them; vLLM draws the same line."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of one prompt and the field they came from."""

    ids: tuple[int, ...]
    field: str
    text: str | None = None
    """As it was sent, if it was."""


def check_model(body: GenerationBody, service: Service) -> None:
    """Raises NotFound for a model that is not served; without a name, the one that is served is meant."""
    if body.model and body.model != service.settings.model:
        raise unknown_model(body.model, service)


def unknown_model(name: str, service: Service) -> NotFound:
    served = service.settings.model
    return NotFound(f"The model {shown(name)} does not exist; this server has {served!r}.", "model")


def check_common(body: GenerationBody, service: Service) -> None:
    """What can be said of a request without its prompt. Raises InvalidRequest."""
    options = body.stream_options
    if options is not None and options.asks_for_something and not body.stream:
        raise InvalidRequest("stream_options: expected only together with stream: true", "stream_options")
    if body.best_of not in (None, 1, body.n or 1):
        raise InvalidRequest(f"best_of is not supported yet, got {body.best_of}; leave it out", "best_of")
    if body.prompt_logprobs is not None and body.stream:
        raise InvalidRequest("prompt_logprobs: expected only without stream: true", "prompt_logprobs")
    for index, token in enumerate(body.stop_token_ids or ()):
        _check_token(token, f"stop_token_ids[{index}]", service)
    _check_edits(body, service)
    if body.lossy_acceptance and not service.settings.lossy.allowed:
        raise InvalidRequest(
            "lossy_acceptance: expected false or nothing, got true; answers of this server are exact", "lossy_acceptance"
        )
    for name, value in (body.metadata or {}).items():
        if len(value) > MAX_METADATA_CHARS:
            field = f"metadata.{name}"
            raise InvalidRequest(
                f"{shown(field)}: expected at most {MAX_METADATA_CHARS} characters, got {len(value)}",
                "metadata",
            )


def _check_edits(body: GenerationBody, service: Service) -> None:
    for name in body.logit_bias or {}:
        field = f"logit_bias[{shown(name)}]"
        if not (name.isascii() and name.isdigit() and len(name) <= MAX_DIGITS):
            raise InvalidRequest(f"{field}: expected a token id as the name", "logit_bias")
        _check_token(int(name), field, service, "logit_bias")
    allowed = body.allowed_token_ids
    for index, token in enumerate(allowed or ()):
        _check_token(token, f"allowed_token_ids[{index}]", service)
    if allowed is not None and not set(allowed) - (stop_ids_of(body, service) if body.min_tokens else set()):
        raise InvalidRequest("allowed_token_ids: expected a token that does not end the answer, got none", "allowed_token_ids")


def stop_ids_of(body: GenerationBody, service: Service) -> frozenset[int]:
    """What ends an answer: the tokens asked for, and the model's own end unless it is ignored."""
    return frozenset(body.stop_token_ids or ()) | (frozenset() if body.ignore_eos else service.tokenizer.eos_ids)


def stop_strings(body: GenerationBody) -> tuple[str, ...]:
    """Raises InvalidRequest for too many, too long or empty ones."""
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if len(stops) > MAX_STOPS:
        raise InvalidRequest(f"stop: expected at most {MAX_STOPS} strings, got {len(stops)}", "stop")
    for index, stop in enumerate(stops):
        field = "stop" if isinstance(body.stop, str) else f"stop[{index}]"
        if not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise InvalidRequest(f"{field}: expected 1 to {MAX_STOP_CHARS} characters, got {len(stop)}", field)
    return stops


def check_prompt(prompt: Prompt, service: Service) -> None:
    """Raises InvalidRequest for a prompt that is empty, not of known tokens, or leaves no room."""
    if not prompt.ids:
        raise InvalidRequest(f"{prompt.field}: expected at least one token, got none", prompt.field)
    for index, token in enumerate(prompt.ids):
        _check_token(token, f"{prompt.field}[{index}]", service)
    limit = service.settings.max_model_len
    if len(prompt.ids) >= limit:
        raise InvalidRequest(
            f"This model's maximum context length is {limit} tokens. However, your prompt has "
            f"{len(prompt.ids)} tokens, and the answer needs at least one. "
            f"Please reduce the length of the {prompt.field}.",
            prompt.field,
        )


def check_max_tokens(max_tokens: int, field: str, prompt: Prompt, service: Service) -> None:
    """Raises InvalidRequest where prompt and answer together exceed the context."""
    limit = service.settings.max_model_len
    if len(prompt.ids) + max_tokens > limit:
        raise InvalidRequest(
            f"This model's maximum context length is {limit} tokens. However, you requested "
            f"{len(prompt.ids) + max_tokens} tokens ({len(prompt.ids)} in the {prompt.field}, "
            f"{max_tokens} in the completion). Please reduce the length of the {prompt.field} or {field}.",
            field,
        )


def check_min_tokens(body: GenerationBody, max_tokens: int) -> None:
    """Raises InvalidRequest where the least length of an answer is beyond its greatest."""
    if (body.min_tokens or 0) > max_tokens:
        raise InvalidRequest(f"min_tokens: expected at most max_tokens, {max_tokens}, got {body.min_tokens}", "min_tokens")


def edits_of(body: GenerationBody, service: Service) -> Edits:
    """Raises InvalidRequest for bad words that cannot be kept out."""
    bad_words = bad_words_of(body.bad_words or (), service.tokenizer)
    if bad_words:
        excluded = {word[-1] for word in bad_words} | (stop_ids_of(body, service) if body.min_tokens else set())
        if all(token in excluded for token in body.allowed_token_ids or range(service.tokenizer.vocab_size)):
            raise InvalidRequest("bad_words: expected a token that may always follow, got none", "bad_words")
    return Edits(
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=tuple((int(name), value) for name, value in (body.logit_bias or {}).items()),
        min_tokens=body.min_tokens or 0,
        allowed_token_ids=tuple(sorted(set(body.allowed_token_ids or ()))),
        bad_words=bad_words,
    )


def temperature_of(body: GenerationBody) -> float:
    return 1.0 if body.temperature is None else body.temperature


def lossy_of(body: GenerationBody, service: Service) -> Typical | None:
    """How drafts are accepted that the target does not choose; None: its answers are exact."""
    return service.settings.lossy.of(body.lossy_acceptance, temperature_of(body), body.speculative is not False)


def engine_request(
    body: GenerationBody, prompt: Prompt, max_tokens: int, tenant: str, learn: bool, lot: float, service: Service
) -> Request:
    """The request that the engine gets for the first choice of one prompt, but for its edits and its constraint.

    lot: see `serving.messages.Request`.
    """
    tokenizer = service.tokenizer
    temperature = temperature_of(body)
    top_k = max(body.top_k or 0, 0)
    return Request(
        id=service.engine.next_id(),
        prompt_ids=prompt.ids,
        tenant=tenant,
        max_tokens=max(max_tokens, 1),  # the engine always says something; with `echo` it may go unheard
        temperature=max(temperature, _MIN_TEMPERATURE) if temperature else 0.0,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=top_k if top_k < tokenizer.vocab_size else 0,
        min_p=body.min_p or 0.0,
        seed=secrets.randbits(63) if body.seed is None else body.seed,
        stop_ids=tuple(sorted(stop_ids_of(body, service))),
        lossy=lossy_of(body, service),
        logprobs=body.num_logprobs,
        prompt_logprobs=body.num_prompt_logprobs,
        priority=body.priority or 0,
        learn=learn,
        speculative=body.speculative is not False,
        lot=lot,
    )


def _check_token(token: int, field: str, service: Service, param: str | None = None) -> None:
    size = service.tokenizer.vocab_size
    if not 0 <= token < size:
        raise InvalidRequest(f"{field}: {token} is not a token id, expected 0 to {size - 1}", param or field)
