"""What can be configured: one option for each field of the sections, under three names that follow from it.

    key in TOML                 environment                     flag
    server.port                 EVERDRAFT_PORT                  --port
    engine.max_running          EVERDRAFT_ENGINE_MAX_RUNNING    --engine-max-running
    traffic.url                 EVERDRAFT_TRAFFIC               --traffic

Fields of the target and the server go by their own name, the others carry their section; a section's main
field (`url`, `path`) goes by the section's name. An option that may hold a secret can be read from a file
instead: `api_keys_file`, `EVERDRAFT_API_KEYS_FILE`, `--api-keys-file`. Keys have no flag of their own:
others on the machine could read it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_type_hints

from cli.sections import DataSection, RegistrySection, ServerSection, TargetSection, TrafficSection
from cli.values import Kind
from serving.rollout import RolloutSettings
from serving.settings import EngineSettings
from trainer.settings import TrainerSettings

PREFIX = "EVERDRAFT_"
SECRET = frozenset({"server.api_keys", "server.admin_key", "traffic.url", "registry.url"})
"""Keys whose value is not to be shown in full."""
NO_FLAG = frozenset({"server.api_keys", "server.admin_key"})

_BARE = ("", "target", "server")
_MAIN = {"target": "path", "traffic": "url", "registry": "url"}

SECTIONS: dict[str, tuple[type[Any], frozenset[str]]] = {
    "": (DataSection, frozenset()),
    "target": (TargetSection, frozenset()),
    "server": (ServerSection, frozenset()),
    "engine": (
        EngineSettings,
        frozenset({"target", "revision", "dtype", "device", "registry", "checkpoints", "name", "rollout"}),
    ),
    "rollout": (RolloutSettings, frozenset()),
    "traffic": (TrafficSection, frozenset()),
    "registry": (RegistrySection, frozenset()),
    "trainer": (
        TrainerSettings,
        frozenset({
            *("target", "revision", "served_dtype", "traffic", "registry", "checkpoints", "state"),
            *("heads", "draft", "lookahead", "name"),
        }),
    ),
}
"""By name: the class with a section's fields and checks, and those fields that other sections decide."""


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One thing that can be set. There is one object for each."""

    section: str
    field: str
    kind: Kind
    default: object
    help: str

    @property
    def key(self) -> str:
        """Its name in the TOML file, the section before the dot."""
        return f"{self.section}.{self.field}" if self.section else self.field

    @property
    def name(self) -> str:
        """Its name where there are no sections."""
        if _MAIN.get(self.section) == self.field:
            return self.section
        return self.field if self.section in _BARE else f"{self.section}_{self.field}"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def secret(self) -> bool:
        return self.key in SECRET


@cache
def options() -> tuple[Option, ...]:
    """Every option there is."""
    return tuple(option for section in SECTIONS for option in _of(section))


def _of(section: str) -> Iterator[Option]:
    owner, decided_elsewhere = SECTIONS[section]
    kinds = get_type_hints(owner)
    docs = _docstrings(owner)
    for each in fields(owner):
        if each.name not in decided_elsewhere:
            default = each.default_factory() if callable(each.default_factory) else each.default
            yield Option(section, each.name, kinds[each.name], default, docs.get(each.name, ""))


def _docstrings(owner: type[Any]) -> dict[str, str]:
    """The docstring below each field, which Python itself does not keep."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for above, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr):
            name, doc = above.target, below.value
            if isinstance(name, ast.Name) and isinstance(doc, ast.Constant):
                found[name.id] = " ".join(str(doc.value).split())
    return found
