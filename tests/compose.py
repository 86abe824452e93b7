"""docker-compose.yml as Compose reads it: anchors, merges, variables with defaults, profiles, conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")


def variables(text: str) -> dict[str, str]:
    """Every variable of a compose file, with its default."""
    return {found["name"]: found["default"] or "" for found in _VARIABLE.finditer(text) if found["name"]}


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """`${NAME:-default}` replaced (an empty variable counts as unset), `$$` become `$`; anything else with a `$` is an error."""
    if isinstance(value, dict):
        return {key: interpolated(each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, environment) for each in value]
    if not isinstance(value, str):
        return value
    assert "$" not in _VARIABLE.sub("", value), f"{value!r}: a dollar sign that Compose would refuse"

    def text(found: re.Match[str]) -> str:
        return "$" if found["name"] is None else environment.get(found["name"]) or found["default"] or ""

    return _VARIABLE.sub(text, value)


def read(environment: Mapping[str, str], path: Path = FILE) -> dict[str, Any]:
    """The file, its variables replaced."""
    document: dict[str, Any] = interpolated(yaml.safe_load(path.read_text()), environment)
    return document


def merged(document: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As `docker compose -f document -f over` reads both: what `over` says counts. Lists would be joined; ours never meet."""
    together = {**document, **over}
    for name in document.keys() & over.keys():
        assert not isinstance(over[name], list)
        if isinstance(over[name], dict):
            together[name] = merged(document[name], over[name])
    return together


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """A service's environment as its process sees it."""
    return {name: str(value) for name, value in (service.get("environment") or {}).items()}
