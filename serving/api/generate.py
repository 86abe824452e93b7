"""Answers from the engine: every step goes to the client, the metrics and, at the end, the traffic log."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from serving.api.answer import Answer, Delta
from serving.api.errors import ApiError, Busy, InvalidRequest, Unavailable
from serving.api.interleave import interleave
from serving.api.service import Service
from serving.link import EngineDead, RequestRefused

Step = tuple[Answer, Delta]


async def generate(service: Service, answers: Sequence[Answer]) -> AsyncGenerator[Step, None]:
    """The steps of all answers as they come, until every one is finished.

    Raises ApiError where the engine will not or cannot finish one. Closing it early aborts them all.
    """
    with service.admission.hold(len(answers)):
        async with aclosing(interleave([_follow(service, answer) for answer in answers])) as steps:
            async for step in steps:
                yield step


async def _follow(service: Service, answer: Answer) -> AsyncGenerator[Step, None]:
    moves = service.engine.submit(answer.request)
    assert isinstance(moves, AsyncGenerator), "closing it is how a request is aborted"
    taken = True
    try:
        async with aclosing(moves):
            async for moved in moves:
                if moved.finish_reason == "abort":
                    raise EngineDead("the engine aborted the request")
                last = answer.arrived_at if answer.last_at is None else answer.last_at
                now = time.perf_counter()
                delta = answer.take(moved, now)
                service.metrics.moved(answer, moved, now - last)
                yield answer, delta
                if answer.finish_reason is not None:
                    return
    except (RequestRefused, EngineDead) as error:
        taken = bool(answer.output_ids)
        raise _told(error, answer, service.settings.retry_after) from error
    finally:
        if taken:
            service.metrics.finished(answer, time.perf_counter())
            service.traffic.record(answer.outcome(time.time()))


def _told(error: RequestRefused | EngineDead, answer: Answer, retry_after: int) -> ApiError:
    """What the client hears of it."""
    if isinstance(error, EngineDead):
        return Unavailable("The engine is not running; the request was not finished.", retry_after)
    refused = error.refused
    match refused.code:
        case "too_large":
            return InvalidRequest(f"The request is too large: {refused.message}.", "max_tokens")
        case "constraint":
            constraint = answer.request.constraint
            return InvalidRequest(refused.message, None if constraint is None else constraint.field)
        case "queue_full":
            return Busy(f"The server is busy: {refused.message}.", retry_after)
        case "draining":
            return Unavailable("The server is shutting down.", retry_after)
