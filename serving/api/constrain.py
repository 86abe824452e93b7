"""From the fields that constrain an answer to one constraint that can be followed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from serving.api.errors import InvalidRequest, shown
from serving.api.schemas import GenerationBody
from serving.api.structured import JsonSchema, ResponseFormat
from speculator.constraint.constraint import BadConstraint, Constraint
from speculator.constraint.proving import Prover

MAX_CHARS = 100_000
"""Of a schema, an expression, a grammar or all choices together."""

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


async def constraint_of(body: GenerationBody, prover: Prover | None) -> Constraint | None:
    """What the answer has to look like; None: anything goes. Raises InvalidRequest.

    prover: tries it out first; None: whoever asks is trusted, and hears from the engine what cannot be followed.
    """
    given = list(_given(body))
    if not given:
        return None
    if len(given) > 1:
        first, second = given[0].field, given[1].field
        raise InvalidRequest(f"{second}: expected at most one constraint, but {first} is given too", second)
    (constraint,) = given
    if len(constraint.text) > MAX_CHARS:
        message = f"{constraint.field}: expected at most {MAX_CHARS} characters, got {len(constraint.text)}"
        raise InvalidRequest(message, constraint.field)
    if prover is None:
        return constraint
    try:
        await asyncio.get_running_loop().run_in_executor(prover.thread, prover.prove, constraint)
    except BadConstraint as error:
        raise InvalidRequest(str(error), constraint.field) from None
    return constraint


def _given(body: GenerationBody) -> Iterator[Constraint]:
    if body.response_format is not None:
        yield from _formatted(body.response_format)
    wanted = body.structured_outputs
    if wanted is not None:
        yield from _one("structured_outputs.", wanted.json, wanted.regex, wanted.choice, wanted.grammar)
        if wanted.json_object:
            yield _json(_ANY_OBJECT, "structured_outputs.json_object")
    yield from _one("guided_", body.guided_json, body.guided_regex, body.guided_choice, body.guided_grammar)


def _formatted(wanted: ResponseFormat) -> Iterator[Constraint]:
    if wanted.type == "json_object":
        yield _json(_ANY_OBJECT, "response_format")
    elif wanted.type == "json_schema":
        if wanted.json_schema is None:
            field = "response_format.json_schema"
            raise InvalidRequest(f"{field}: required with type json_schema, but missing", field)
        yield _json(wanted.json_schema.schema, "response_format.json_schema.schema")
    elif wanted.type != "text":
        field = "response_format.type"
        raise InvalidRequest(f"{field}: expected text, json_object or json_schema, got {shown(wanted.type)}", field)


def _one(
    prefix: str, json: JsonSchema | None, regex: str | None, choice: list[str] | None, grammar: str | None
) -> Iterator[Constraint]:
    if json is not None:
        yield _json(json, f"{prefix}json")
    if regex is not None:
        yield Constraint("regex", regex, f"{prefix}regex")
    if choice is not None:
        if not choice:
            raise InvalidRequest(f"{prefix}choice: expected at least one text, got none", f"{prefix}choice")
        yield Constraint("choice", msgspec.json.encode(choice).decode(), f"{prefix}choice")
    if grammar is not None:
        yield Constraint("grammar", grammar, f"{prefix}grammar")


def _json(schema: JsonSchema, field: str) -> Constraint:
    """Properties stay in the order given, which is the one they are written in."""
    return Constraint("json", schema if isinstance(schema, str) else msgspec.json.encode(schema).decode(), field)
