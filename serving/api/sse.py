"""Server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.api.disconnect import unless_gone
from serving.api.errors import ClientGone

DONE = b"data: [DONE]\n\n"

_encoder = msgspec.json.Encoder()


def event(payload: msgspec.Struct) -> bytes:
    """One event holding `payload` as JSON."""
    return b"data: " + _encoder.encode(payload) + b"\n\n"


class EventStream(Response):
    """A stream of events that ends, and closes `events`, when they are through or the client hangs up.

    The status goes out with the first event: what `events` raises before it can still become another status.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self.status_code = 200
        self.background = None
        self._events = events
        # a proxy that buffers would turn a stream into one late answer
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._send_all(send))
        except ClientGone:
            return

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            first = await anext(events)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for each in events:
                await send({"type": "http.response.body", "body": each, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
