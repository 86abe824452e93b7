"""What is installed is all that the rooms hold: kernels in C, scripts of Redis, the bundled models."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.test_rooms import DOORS

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def carried() -> dict[str, set[Path]]:
    """The data files that a wheel carries, by the pattern that names them."""
    return {
        f"{package}: {pattern}": {path for path in (ROOT / package.replace(".", "/")).glob(pattern) if path.is_file()}
        for package, patterns in SETTINGS["package-data"].items()
        for pattern in patterns
    }


def test_every_room_is_installed() -> None:
    assert {pattern.rstrip("*") for pattern in SETTINGS["packages"]["find"]["include"]} == set(DOORS)


def test_every_file_that_is_no_python_is_installed_with_its_room() -> None:
    held = {path for room in DOORS for path in (ROOT / room).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in held if path.suffix != ".py"} <= set().union(*carried().values())


def test_no_pattern_names_what_is_gone() -> None:
    assert not [pattern for pattern, files in carried().items() if not files]
