"""Endpoint: what those that generate do alike, before and after they read their prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from fastapi import Request, Response

from serving.api.admit import Ask, Head, admit
from serving.api.body import convert, read_object
from serving.api.constrain import constraint_of
from serving.api.refusals import Neutral, refuse_unsupported
from serving.api.respond import Shape, Wanted, respond
from serving.api.schemas import GenerationBody
from serving.api.service import Service
from serving.text import TextTokenizer

B = TypeVar("B", bound=GenerationBody)


async def read_body(
    request: Request, service: Service, kind: type[B], unsupported: Mapping[str, Neutral]
) -> B:
    """The request's fields. Raises ApiError for those of a wrong type, and for those that ask for what is not supported."""
    raw = await read_object(request, service.settings.max_body_bytes)
    refuse_unsupported(raw, unsupported)
    return convert(raw, kind)


async def answered(
    request: Request,
    service: Service,
    body: B,
    asks: Sequence[Ask],
    *,
    prefix: str,
    shape: Callable[[Head, B, TextTokenizer], Shape],
) -> Response:
    """The response with every choice of every prompt. prefix: of its id. shape: how it is written. Raises ApiError."""
    constraint = await constraint_of(body, service.prover)
    head = Head.new(prefix, body, service)
    answers = admit(service, body, asks, head, request.state.tenant, constraint)
    return await respond(request, service, answers, shape(head, body, service.tokenizer), Wanted.by(body))
