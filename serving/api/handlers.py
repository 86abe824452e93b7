"""Exceptions as responses, all in the one shape."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.api.errors import ApiError, ClientGone, ErrorBody, NotFound, Unauthorized, error_body

CLIENT_GONE = 499
"""nginx's status for a client that hung up: for the metrics, nobody receives it."""


def add_handlers(app: FastAPI) -> None:
    """Every error that a route or the router itself raises on purpose."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGone, _client_gone)


def error_response(error: ApiError) -> Response:
    headers = dict(error.headers)
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return _response(error.body, headers)


def _response(body: ErrorBody, headers: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(body), body.error.code, headers, "application/json")


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_response(NotFound(f"There is no {request.method} {request.url.path} here."))
    status = HTTPStatus(error.status_code)
    message = error.detail
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{request.url.path} does not take {request.method}."
    kind = "".join(word.capitalize() for word in status.phrase.split()) + "Error"
    return _response(error_body(status, kind, message), dict(error.headers or {}))


def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
