"""The doors between rooms: who may import whom. Imports inside functions count."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOORS: dict[str, set[str]] = {
    "kernels": set(),
    "pipelines": set(),
    "models": {"kernels"},
    "speculator": {"pipelines", "models", "kernels"},
    "serving": {"speculator", "pipelines", "models", "kernels"},
    "trainer": {"speculator", "pipelines", "models", "kernels"},
    "cli": {"serving", "trainer", "speculator", "pipelines", "models", "kernels", "everdraft"},
    "bench": {"cli", "serving", "trainer", "speculator", "pipelines", "models", "kernels"},
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for room in DOORS for path in sorted((ROOT / room).rglob("*.py"))}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Names of our own modules that a file imports; those under `if TYPE_CHECKING` count for the doors."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if not top_level_only else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in submodules}
    return {name for name in found if name.split(".")[0] in DOORS or name == "everdraft"}


@pytest.mark.parametrize("room", DOORS)
def test_a_room_imports_only_through_its_doors(room: str) -> None:
    allowed = DOORS[room] | {room}
    files = [path for name, path in MODULES.items() if name.split(".")[0] == room]
    assert files
    for path in files:
        for name in imports(path):
            assert name.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_no_import_cycle() -> None:
    graph = {name: imports(path, top_level_only=True) & MODULES.keys() for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for each in sorted(graph[name]):
                visit(each, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert len(done) == len(MODULES)
