"""How verbs print: tables for people, JSON for programs, ages instead of times."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


def table(head: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Columns under their heads, each as wide as it needs; the last is not padded."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]
    return "\n".join(indent + line for line in lines)


def as_json(value: object) -> str:
    """Indented JSON of structs, lists and numbers."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def ago(then: float, now: float) -> str:
    """`12 s ago`; `-` for a time that never was (0)."""
    if then == 0:
        return "-"
    seconds = max(0.0, now - then)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def number(value: float) -> str:
    """A figure as short as it says something: four significant digits, whole numbers whole."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
