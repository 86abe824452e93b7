"""From a request's bytes to typed fields; errors name the field, the value and what was expected."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import msgspec
from starlette.requests import Request

from serving.api.errors import BodyTooLarge, InvalidRequest, shown

T = TypeVar("T")

_TYPE_NAMES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_LONGEST_INTEGER = 40
"""Digits: no field holds more, and Python refuses to read thousands of them."""


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """The JSON object in the body. Raises InvalidRequest, or BodyTooLarge beyond `limit` bytes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidRequest(f"content-type is {shown(kind)}, expected application/json")
    return parse_object(await _read(request, limit))


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(f"the body has {declared} bytes, expected at most {limit}")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise BodyTooLarge(f"the body has more than {limit} bytes, the most that is taken")
    return bytes(data)


def parse_object(data: bytes) -> dict[str, Any]:
    """Raises InvalidRequest for anything but one JSON object in UTF-8."""
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        _explain(data)
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body is {shown(value)}, expected a JSON object")
    return value


def _explain(data: bytes) -> NoReturn:
    """Says what is wrong with a body that the strict parser refused, naming the field if there is one."""
    try:
        # a lenient reading: broken UTF-8 and lone surrogates end up as surrogates, NaN and the like as floats
        value = json.loads(data.decode(errors="surrogateescape"), parse_int=_integer)
        for path, leaf in _leaves(value):
            _check_leaf(path, leaf)
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {_harmless(str(error))}") from None
    raise InvalidRequest("the body is not valid JSON")


def _check_leaf(path: str, leaf: Any) -> None:
    if isinstance(leaf, float) and not math.isfinite(leaf):
        raise InvalidRequest(f"{path}: expected a finite number, got {leaf}", path)
    if isinstance(leaf, str) and not _is_unicode(leaf):
        where = path if _is_unicode(path) else None
        name = where or "the name of a field"
        raise InvalidRequest(f"{name}: expected valid UTF-8, got {shown(_harmless(leaf))}", where)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else math.inf


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _harmless(text: str) -> str:
    return text.encode(errors="replace").decode()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every name and every plain value, with its path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            inner_path = f"{path}.{name}" if path else name
            yield inner_path, name
            yield from _leaves(inner, inner_path)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def convert(raw: dict[str, Any], kind: type[T]) -> T:
    """The object as a `kind`; fields it does not have are ignored. Raises InvalidRequest."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), raw) from None


def _invalid(message: str, raw: dict[str, Any]) -> InvalidRequest:
    """msgspec says "Expected `int`, got `str` - at `$.messages[0].content`"."""
    what, _, where = message.partition(" - at `$")
    path = where.rstrip("`").removeprefix(".").removesuffix("[...]")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        param = f"{path}.{missing[1]}" if path else missing[1]
        return InvalidRequest(f"{param}: required, but missing", param)
    expected = re.sub(r", got `\w+`$", "", what)
    expected = re.sub(r"`([^`]*)`", _name_types, expected)
    expected = expected[:1].lower() + expected[1:]
    return InvalidRequest(f"{path}: {expected}, got {shown(_at(raw, path))}", path)


def _name_types(match: re.Match[str]) -> str:
    return " or ".join(_TYPE_NAMES.get(name, name) for name in match[1].split(" | "))


def _at(raw: Any, path: str) -> Any:
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", path):
        raw = raw[name] if name else raw[int(index)]
    return raw
