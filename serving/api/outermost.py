"""What every request goes through first: an id that comes back with it, a count, a net for our own faults."""

from __future__ import annotations

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.errors import ApiError
from serving.api.handlers import CLIENT_GONE, error_response
from serving.api.metrics import Metrics

REQUEST_ID = "x-request-id"

_log = logging.getLogger(__name__)
_SOUND_ID = re.compile(r"[\x21-\x7e]{1,128}")


class OutermostMiddleware:
    """Pure ASGI, so that a client's hanging up is seen where it matters."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = sent if _SOUND_ID.fullmatch(sent) else uuid.uuid4().hex
        status: int | None = None

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception:
            _log.exception("request %s failed", request_id)
            if status is not None:
                return  # the answer has begun: breaking it off is all that is left
            fault = ApiError("The server failed on this request; its log says why.")
            await error_response(fault)(scope, receive, send_on)
        finally:
            self._metrics.responded(_route(scope), CLIENT_GONE if status is None else status)


def _route(scope: Scope) -> str:
    """The route's pattern, not the path: what clients make up must not become labels."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "other"
