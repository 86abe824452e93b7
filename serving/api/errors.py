"""Errors as clients see them: OpenAI's shape, and the status that makes its clients do the right thing.

ApiError
├── InvalidRequest     400   a field is wrong; `param` names it
├── Unauthorized       401
├── Forbidden          403   the admin API is shut
├── NotFound           404   model or route; version or run
├── Conflict           409   it is not so (any more), or something else is under way
├── BodyTooLarge       413
├── Busy               429   come back later
└── Unavailable        503   the engine is gone or going

Anything else that is raised is a fault of ours: 500, its details in the server's log only.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping

import msgspec

_MAX_MESSAGE = 1000
"""Characters: a message quotes what was sent, which must not come back at length."""
_MAX_PARAM = 200
"""Characters: clients make up names too."""


_quote = reprlib.Repr()
_quote.maxstring = 60
_quote.maxlevel = 3


class ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: int
    """The HTTP status, as vLLM has it."""
    run_id: str | msgspec.UnsetType = msgspec.UNSET
    """The run that is under way, where that is the reason."""


class ErrorBody(msgspec.Struct, frozen=True):
    """What every answer of status 400 and above holds."""

    error: ErrorDetail


class ApiError(Exception):
    """Base of what a client is told. `headers` go out with it."""

    status = 500
    type = "InternalServerError"
    run_id: str | msgspec.UnsetType = msgspec.UNSET

    def __init__(self, message: str, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> ErrorBody:
        return error_body(self.status, self.type, str(self), self.param, self.run_id)


class InvalidRequest(ApiError):
    status = 400
    type = "BadRequestError"


class Unauthorized(ApiError):
    status = 401
    type = "AuthenticationError"


class Forbidden(ApiError):
    status = 403
    type = "PermissionDeniedError"


class NotFound(ApiError):
    status = 404
    type = "NotFoundError"


class Conflict(ApiError):
    status = 409
    type = "ConflictError"

    def __init__(self, message: str, run_id: str | msgspec.UnsetType = msgspec.UNSET) -> None:
        super().__init__(message)
        self.run_id = run_id


class BodyTooLarge(ApiError):
    status = 413
    type = "RequestEntityTooLargeError"


class _TryAgain(ApiError):
    """Clients wait for `retry_after` seconds before they try again."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, headers={"retry-after": str(retry_after)})


class Busy(_TryAgain):
    status = 429
    type = "RateLimitError"


class Unavailable(_TryAgain):
    status = 503
    type = "ServiceUnavailableError"


class ClientGone(Exception):
    """The client hung up: nobody is left to be told anything."""


def error_body(
    status: int, kind: str, message: str, param: str | None = None, run_id: str | msgspec.UnsetType = msgspec.UNSET
) -> ErrorBody:
    field = None if param is None else _cut(param, _MAX_PARAM)
    return ErrorBody(ErrorDetail(_cut(message, _MAX_MESSAGE), kind, field, status, run_id))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown(value: object) -> str:
    """A value as an error message quotes it: short whatever was sent, and in JSON's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _quote.repr(value)
