"""The OpenAPI document: our own types in place of what FastAPI would derive from function signatures."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from fastapi import FastAPI

from pipelines.registry import Kind
from serving.api.admin_types import ADMIN_TYPES
from serving.api.errors import ErrorBody
from serving.api.responses import ChatChunk, ChatCompletion, Completion
from serving.api.schemas import ChatBody, CompletionBody

_REF = "#/components/schemas/{name}"
_TYPES = (CompletionBody, ChatBody, Completion, ChatCompletion, ChatChunk, ErrorBody, *ADMIN_TYPES)
_ERRORS = {
    400: "A field is wrong; `param` names it.",
    401: "No API key, or a wrong one.",
    403: "The admin API is shut.",
    404: "No such model, version or run.",
    409: "It is not so (any more), or something else is under way; `run_id` names a run that is.",
    413: "The body is too large.",
    429: "Too many requests at once; `Retry-After` says when to come back.",
    500: "A fault of the server.",
    503: "The engine is not running, or shutting down.",
}


def documented(body: type[msgspec.Struct], response: type[msgspec.Struct]) -> dict[str, Any]:
    """Keyword arguments of a route that takes `body` and answers with `response`, or a stream of events."""
    success = {
        "description": "The whole response, or with `stream` its chunks as server-sent events.",
        "content": {
            "application/json": {"schema": _ref(response)},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
    return {
        "response_model": None,
        "responses": {200: success, **error_responses(400, 401, 404, 413, 429, 500, 503)},
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": _ref(body)}}}},
    }


_KIND = {
    "name": "kind",
    "in": "query",
    "description": "Of speculator, whose slot is meant; by default heads, or a draft model where no heads are served.",
    "schema": {"type": "string", "enum": list(get_args(Kind))},
}


def administered(response: type[msgspec.Struct], body: type[msgspec.Struct] | None = None, status: int = 200) -> dict[str, Any]:
    """Keyword arguments of a route of the admin API."""
    answer = {"description": "Done.", "content": {"application/json": {"schema": _ref(response)}}}
    found: dict[str, Any] = {
        "response_model": None,
        "status_code": status,
        "responses": {status: answer, **error_responses(400, 401, 403, 404, 409, 503)},
        "tags": ["admin"],
    }
    found["openapi_extra"] = {"parameters": [_KIND]}
    if body is not None:
        content = {"application/json": {"schema": _ref(body)}}
        found["openapi_extra"]["requestBody"] = {"required": False, "content": content}
    return found


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": _ref(ErrorBody)}}
    return {status: {"description": _ERRORS[status], "content": content} for status in statuses}


def add_schemas(app: FastAPI) -> None:
    """Puts our types among the schemas of the app's document."""
    derive = app.openapi

    def openapi() -> dict[str, Any]:
        document = derive()
        _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_REF)
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REF.format(name=kind.__name__)}
