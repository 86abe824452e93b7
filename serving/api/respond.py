"""A request's answers as one response, a stream of events or a whole object; endpoints differ in `Shape`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import msgspec
from fastapi import Request, Response

from serving.api.answer import Answer, Delta
from serving.api.disconnect import unless_gone
from serving.api.errors import ApiError
from serving.api.generate import generate
from serving.api.responses import Extras, Usage, num_prompt_tokens, usage_of
from serving.api.schemas import GenerationBody
from serving.api.service import Service
from serving.api.sse import DONE, EventStream, event
from serving.api.stats import RequestMetrics, request_metrics

_log = logging.getLogger(__name__)
_NOTHING = Extras()


class Shape(Protocol):
    """How an endpoint writes its answers."""

    def opening(self, answer: Answer) -> msgspec.Struct | None:
        """The chunk before an answer's first text, if there is one."""

    def step(self, answer: Answer, delta: Delta, extras: Extras) -> msgspec.Struct:
        """The chunk of one verification step."""

    def closing(self, answer: Answer, delta: Delta, extras: Extras) -> msgspec.Struct:
        """The chunk that tells why an answer ended."""

    def summary(self, extras: Extras) -> msgspec.Struct:
        """The chunk without choices that ends the stream."""

    def whole(self, answers: Sequence[Answer], extras: Extras) -> msgspec.Struct:
        """The response to a request that does not stream."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks to be told besides the answers."""

    stream: bool
    usage: bool
    running_usage: bool
    metrics: bool

    @classmethod
    def by(cls, body: GenerationBody) -> Wanted:
        options = body.stream_options
        usage = options is not None and bool(options.include_usage)
        return cls(
            stream=bool(body.stream),
            usage=usage,
            running_usage=usage and options is not None and bool(options.continuous_usage_stats),
            metrics=bool(body.speculative_metrics),
        )


async def respond(request: Request, service: Service, answers: Sequence[Answer], shape: Shape, wanted: Wanted) -> Response:
    """The response, however long it takes; a client that hangs up aborts every answer.

    Raises ApiError, or ClientGone when there is nobody left to answer.
    """
    if wanted.stream:
        return EventStream(_events(service, answers, shape, wanted))
    await unless_gone(request.receive, _finish(service, answers))
    extras = Extras(usage=usage_of(answers), metrics=_metrics(answers, wanted.metrics))
    return Response(msgspec.json.encode(shape.whole(answers, extras)), media_type="application/json")


async def _finish(service: Service, answers: Sequence[Answer]) -> None:
    async with aclosing(generate(service, answers)) as steps:
        async for _ in steps:
            pass


async def _events(service: Service, answers: Sequence[Answer], shape: Shape, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    started = False
    try:
        async with aclosing(_chunks(service, answers, shape, wanted)) as chunks:
            async for chunk in chunks:
                started = True
                yield event(chunk)
    except ApiError as error:
        if not started:
            raise
        yield event(error.body)
    except Exception:
        if not started:
            raise
        _log.exception("a stream broke off")
        yield event(ApiError("The server failed to finish this response.").body)
    yield DONE


async def _chunks(
    service: Service, answers: Sequence[Answer], shape: Shape, wanted: Wanted
) -> AsyncGenerator[msgspec.Struct, None]:
    usage = _RunningUsage(answers) if wanted.running_usage else None
    num_open = len(answers)
    async with aclosing(generate(service, answers)) as steps:
        async for answer, delta in steps:
            if delta.first and (opening := shape.opening(answer)) is not None:
                yield opening
            extras = _NOTHING if usage is None else Extras(usage=usage.after(delta))
            yield shape.step(answer, delta, extras)
            if delta.finish_reason is not None:
                num_open -= 1
                if not (num_open or wanted.usage):  # the last chunk: there is no better place for the metrics
                    extras = Extras(metrics=_metrics(answers, wanted.metrics))
                yield shape.closing(answer, delta, extras)
    if wanted.usage:
        yield shape.summary(Extras(usage=usage_of(answers), metrics=_metrics(answers, wanted.metrics)))


class _RunningUsage:
    """Usage up to the chunk being sent."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._prompt = num_prompt_tokens(answers)
        self._completion = 0

    def after(self, delta: Delta) -> Usage:
        self._completion += len(delta.token_ids)
        return Usage(self._prompt, self._completion, self._prompt + self._completion)


def _metrics(answers: Sequence[Answer], wanted: bool) -> msgspec.UnsetType | RequestMetrics:
    return request_metrics(moved for answer in answers for moved in answer.moves) if wanted else msgspec.UNSET
