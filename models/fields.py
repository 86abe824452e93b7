"""Typed reading of a JSON object, for errors that name the field, the value and what was expected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import BadModel


class Fields:
    """One JSON object. A field that is null counts as absent, as it does in Hugging Face files."""

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self.values = values
        self._name = name

    @classmethod
    def read(cls, path: Path) -> Fields:
        """The object in a file. Raises BadModel where there is no such file or no object in it."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadModel(f"{path}: there is no such file") from None
        except ValueError as error:  # bad JSON, bad UTF-8
            raise BadModel(f"{path}: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise BadModel(f"{path}: expected a JSON object, found {type(values).__name__}")
        return cls(values, path.name)

    def path(self, name: str) -> str:
        """How messages call a field: `config.json: rope_scaling.factor`."""
        separator = ": " if self._name.endswith(".json") else "."
        return f"{self._name}{separator}{name}"

    def __contains__(self, name: str) -> bool:
        """Whether the field is there at all, be it null."""
        return name in self.values

    def given(self, name: str) -> bool:
        return self.values.get(name) is not None

    def raw(self, name: str) -> Any:
        """The value as it stands; None where absent."""
        return self.values.get(name)

    def section(self, name: str) -> Fields:
        """A nested object; an empty one where absent."""
        value = self._get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value, self.path(name))

    def integer(self, name: str, default: int | None = None, minimum: int = 0) -> int:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.wrong(name, f"an integer of at least {minimum}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number above zero."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.wrong(name, "a number above 0")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def wrong(self, name: str, expected: str) -> BadModel:
        """The error for a field that does not hold what it should."""
        found = repr(self.values[name]) if name in self.values else "missing"
        return BadModel(f"{self.path(name)} is {found}; expected {expected}")

    def _get(self, name: str, default: object) -> Any:
        value = self.values.get(name)
        return default if value is None else value
