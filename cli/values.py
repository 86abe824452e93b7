"""Values of options: from the text of a flag or variable, or from what TOML held, to the type that is wanted.

`from_text` and `from_toml` raise ValueError; its message says what was expected, and nothing else.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

Kind = Any
"""A type as annotated: str, int, float, bool, Path, Literal[…], tuple[str, ...], Mapping[str, …]; or one of
these or None, which the empty text stands for."""

_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_EXPECTED: dict[Kind, str] = {
    str: "text",
    Path: "a path",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def expected(kind: Kind) -> str:
    """What a value of `kind` looks like, for a user."""
    match _form(kind):
        case "optional":
            return expected(_inner(kind))
        case "choice":
            return "one of " + ", ".join(get_args(kind))
        case "list":
            return "a list (in a flag or variable: a,b,c)"
        case "table":
            return f"a table (in a flag or variable: name=value,name=value), each value {expected(_inner(kind))}"
        case "plain":
            return _EXPECTED[kind]


def from_text(text: str, kind: Kind) -> object:
    """The value that `text`, of a flag or an environment variable, stands for."""
    match _form(kind):
        case "optional":
            return from_text(text, _inner(kind)) if text else None
        case "list":
            return tuple(part.strip() for part in text.split(",")) if text.strip() else ()
        case "table":
            return _table(text, kind)
        case "choice":
            return _checked(text in get_args(kind), text, kind)
        case "plain":
            return _plain(text, kind)


def from_toml(value: object, kind: Kind) -> object:
    """`value` as TOML gave it, checked."""
    match _form(kind):
        case "optional":
            return from_toml(value, _inner(kind))
        case "list":
            texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
            return tuple(_checked(texts, value, kind))
        case "table":
            rows = _checked(isinstance(value, dict), value, kind)
            return {name: from_toml(each, _inner(kind)) for name, each in rows.items()}
    if kind is bool:
        return _checked(isinstance(value, bool), value, kind)
    written = (int, float) if kind is float else (int,) if kind is int else (str,)
    return from_text(str(_checked(isinstance(value, written), value, kind)), kind)  # true is no number as text either


def to_text(value: object) -> str:
    """The inverse of `from_text`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def _form(kind: Kind) -> Literal["optional", "choice", "list", "table", "plain"]:
    origin: Any = get_origin(kind)
    if origin in (Union, types.UnionType):
        return "optional"
    if origin is None:
        return "plain"
    if origin is Literal:
        return "choice"
    return "list" if origin is tuple else "table"


def _inner(kind: Kind) -> Kind:
    """What an optional wraps, or what a table holds."""
    wrapped = [each for each in get_args(kind) if each is not types.NoneType]
    return wrapped[-1]


def _plain(text: str, kind: Kind) -> object:
    if kind is bool:
        return _BOOLS[_checked(text.lower() in _BOOLS, text.lower(), kind)]
    if kind is Path:
        return Path(text).expanduser()
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(expected(kind)) from None
    return _checked(kind is not float or math.isfinite(value), value, kind)


def _table(text: str, kind: Kind) -> dict[str, object]:
    """`name=value` pairs between commas or line breaks; a name may hold `=` itself, a value may not."""
    rows: dict[str, object] = {}
    for part in text.replace("\n", ",").split(","):
        if part.strip():
            name, divider, value = part.rpartition("=")
            _checked(divider and name.strip(), part, kind)
            rows[name.strip()] = from_text(value.strip(), _inner(kind))
    return rows


def _checked(right: object, value: Any, kind: Kind) -> Any:
    if not right:
        raise ValueError(expected(kind))
    return value
