"""Writes the tree of the README from the first line of every module: `make tree`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("kernels", "pipelines", "models", "speculator", "serving", "trainer", "cli", "bench")
BEGIN, END = "<!-- tree: made by `make tree` -->\n", "<!-- end of tree -->\n"


def phrase(path: Path) -> str:
    """The first line of a module's docstring; empty where there is none."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].rstrip(".")


def lines(folder: Path, indent: str = "") -> Iterator[str]:
    """One line a folder, then one line a file, folders last."""
    init = folder / "__init__.py"
    said = phrase(init) if init.exists() else ""
    yield f"{indent}{folder.name}/".ljust(34) + said
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(("_", "."))]
    for path in entries:
        if path.suffix == ".py":
            yield f"{indent}  {path.name}".ljust(34) + phrase(path)
    for path in entries:
        if path.is_dir() and any(path.rglob("*.py")):
            yield from lines(path, indent + "  ")


def tree() -> str:
    """The block between the markers."""
    files = "everdraft.py".ljust(34) + phrase(ROOT / "everdraft.py")
    listed = [line.rstrip() for room in ROOMS for line in lines(ROOT / room)]
    return "\n".join(["```", files, *listed, "tests/".ljust(34) + "the same rooms again", "```", ""])


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"README.md: no markers {BEGIN.strip()} and {END.strip()}")
    head, _, rest = text.partition(BEGIN)
    readme.write_text(head + BEGIN + tree() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
