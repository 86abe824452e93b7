"""Layers of the configuration: what one source sets, checked key by key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cli.errors import ConfigError
from cli.options import NO_FLAG, SECTIONS, Option, options
from cli.values import from_text, from_toml, to_text

FILE_SUFFIX = "_file"


@dataclass(frozen=True, slots=True)
class Setting:
    """An option's value and where it came from."""

    value: Any
    origin: str

    def shown(self, option: Option) -> str:
        """The value as text, without what is secret in it."""
        if option.secret and isinstance(self.value, Mapping):
            return f"({len(self.value)} set)" if self.value else ""
        text = to_text(self.value)
        if option.key in NO_FLAG:
            return "(set)" if text else ""
        if option.secret and "@" in text:
            scheme, _, rest = text.partition("://")
            return f"{scheme}://…@{rest.rpartition('@')[2]}"
        return text


Layer = Mapping[Option, Setting]


def defaults() -> Layer:
    return {each: Setting(each.default, "default") for each in options()}


def from_names(texts: Mapping[str, str], spell: Callable[[str], str]) -> Layer:
    """What flags or variables set. `texts`: by `Option.name`; `spell` makes of a name what the user wrote.

    Raises ConfigError for a name that is not one, and for a value that cannot be.
    """
    known = {each.name: each for each in options()}
    layer: dict[Option, Setting] = {}
    for name, text in texts.items():
        option = known.get(name)
        if option is None:
            option = known.get(name.removesuffix(FILE_SUFFIX))
            if option is None or not option.secret:
                raise ConfigError(f"{spell(name)} is not an option{_hint(name, known, spell)}")
            _refuse_twice(spell(option.name), option.name in texts)
            text = _secret(spell(name), text)
        layer[option] = _setting(option, text, spell(name), from_text)
    return layer


def from_file(path: Path) -> Layer:
    """What a TOML file sets. Raises ConfigError for a file, key or value that cannot be."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used, expected a TOML file: {error}") from error
    known = {each.key: each for each in options()}
    values = dict(_flat(tables, path))
    layer: dict[Option, Setting] = {}
    for key, value in values.items():
        option = known.get(key)
        if option is None:
            option = known.get(key.removesuffix(FILE_SUFFIX))
            if option is None or not option.secret:
                raise ConfigError(f"{path}: {key} is not an option{_hint(key, known, str)}")
            _refuse_twice(f"{path}: {option.key}", option.key in values)
            place = _setting(option, value, str(path), from_toml, kind=str).value
            layer[option] = _setting(option, _secret(f"{path}: {key}", place), str(path), from_text)
        else:
            layer[option] = _setting(option, value, str(path), from_toml)
    return layer


def _flat(tables: Mapping[str, Any], path: Path) -> Iterator[tuple[str, object]]:
    for name, value in tables.items():
        if name in SECTIONS and not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} is {value!r}, expected a section: [{name}]")
        if name in SECTIONS:
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        elif isinstance(value, dict):
            sections = [section for section in SECTIONS if section]
            hint = _hint(name, sections, str)
            raise ConfigError(f"{path}: [{name}] is not a section{hint} (there are {', '.join(sections)})")
        else:
            yield name, value


def _setting(option: Option, value: object, origin: str, convert: Callable[[Any, Any], object], *, kind: Any = None) -> Setting:
    try:
        return Setting(convert(value, kind or option.kind), origin)
    except ValueError as error:
        given = "what is set" if option.secret else repr(value)
        raise ConfigError(f"{option.key} is {given}, expected {error} (from {origin})") from None


def _secret(origin: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{origin} is {path!r}, expected a file that can be read: {error}") from error


def _refuse_twice(name: str, also_plain: bool) -> None:
    if also_plain:
        raise ConfigError(f"{name} is given as a value and as a file, expected one of the two")


def _hint(wrong: str, right: Mapping[str, object] | list[str], spell: Callable[[str], str]) -> str:
    """`; did you mean …?` where something is near: the same name elsewhere, or one that is spelt alike."""
    alike = [each for each in right if each.rpartition(".")[2] == wrong.rpartition(".")[2]]
    alike = alike or get_close_matches(wrong, list(right), n=1)
    return f"; did you mean {spell(alike[0])}?" if alike else ""
