"""What cannot be followed is refused with its reason; what can be is not."""

from __future__ import annotations

import json

import pytest

from speculator.constraint.constraint import BadConstraint, Constraint
from speculator.constraint.grammar import check
from tests.speculator.constraint.alphabet import constraint

UNFOLLOWABLE = [
    ("json", {"type": "array", "uniqueItems": True}, "uniqueItems"),
    ("json", {"not": {"type": "string"}}, "not"),
    ("json", {"if": {}, "then": {}}, "if"),
    ("json", {"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ("json", {"type": "object", "propertyNames": {"pattern": "a"}}, "propertyNames"),
    ("json", {"oneOf": [{"type": "string"}, {"maxLength": 3}]}, "oneOf"),
    ("json", {"type": "string", "format": "klingon"}, "klingon"),
    ("json", {"type": "text"}, "text"),
    ("json", {"type": "string", "pattern": "(?=a)b"}, "look-ahead"),
    ("json", {"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    ("json", {"$ref": "https://example.com/schema"}, "example.com"),
    ("json", {"$ref": "#/$defs/gone"}, "gone"),
    ("json", False, "object schema"),
    ("json", {"x-guidance": {"lenient": True}, "type": "array", "uniqueItems": True}, "uniqueItems"),
    ("regex", "a[", "unclosed"),
    ("regex", r"(a)\1", "backreferences"),
    ("regex", r"\bfoo", "lookarounds"),
    ("grammar", "start: missing", "missing"),
    ("grammar", "", "rule"),
]
FOLLOWABLE = [
    ("json", {"type": "object"}),
    ("json", {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}),
    ("json", {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
    ("json", {"type": "array", "items": {"type": "number", "multipleOf": 0.5}, "minItems": 2, "maxItems": 9}),
    ("json", {"type": "string", "title": "A", "description": "annotations limit nothing", "default": "x"}),
    ("json", {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"}),
    ("regex", "^(foo|bar)$"),
    ("regex", r"[^\x00-\x7f]+/é{1,300}"),
    ("choice", ["", "é", "😀", 'q"uote', "back\\slash", "\x00\x01\x7f", "<|end|>", "/a/", "\u2028", "(", "a|b", "\n"]),
    ("grammar", 'start: "a" | "b" start'),
    ("grammar", 'root ::= "a" root | "b"'),
]


def written(kind: str, value: object) -> Constraint:
    return constraint(kind, value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize(("kind", "value", "reason"), UNFOLLOWABLE)
def test_what_cannot_be_followed_is_refused_by_field_and_reason_never_ignored(kind: str, value: object, reason: str) -> None:
    with pytest.raises(BadConstraint) as refused:
        check(written(kind, value))
    assert str(refused.value).startswith(f"structured_outputs.{kind}: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("kind", "value"), FOLLOWABLE)
def test_what_can_be_followed_passes(kind: str, value: object) -> None:
    check(written(kind, value))


@pytest.mark.parametrize("text", ["", "{", "[1, 2"])
def test_a_schema_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadConstraint, match=r"structured_outputs\.json"):
        check(constraint("json", text))
