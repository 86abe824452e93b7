"""What the fields that constrain an answer may hold: OpenAI's `response_format`, vLLM's `structured_outputs`."""

from __future__ import annotations

from typing import Any

import msgspec

JsonSchema = dict[str, Any] | str
"""An object, or its text."""


class JsonSchemaFormat(msgspec.Struct, frozen=True, kw_only=True):
    schema: dict[str, Any]
    name: str | None = None
    strict: bool | None = None
    """The schema is kept to the letter in any case."""


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    """`text`, `json_object` or `json_schema`."""
    json_schema: JsonSchemaFormat | None = None


class StructuredOutputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of them."""

    json: JsonSchema | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
