"""Small pieces of HTML and the way numbers are written in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from cli.demo.gains import Gain

NONE = "–"


def prose(text: str) -> str:
    """Text as HTML, what stands between backticks set as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def section(title: str, note: str, body: str) -> str:
    """A card with a heading and a line of explanation; `body` is HTML, the others are text."""
    return f'<section><h2>{escape(title)}</h2><p class="note">{prose(note)}</p>{body}</section>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], num_labels: int) -> str:
    """A table whose first `num_labels` columns are words; the others are figures, set to the right."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if place >= num_labels else ''}>{escape(text)}</{tag}>" for place, text in enumerate(texts)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{cells('th', columns)}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def length(value: float | None) -> str:
    """A mean acceptance length."""
    return NONE if value is None else f"{value:.2f}"


def times(gain: Gain | None) -> str:
    """A ratio, with its 95 % interval."""
    return NONE if gain is None else f"{gain.ratio:.2f}× ({gain.low:.2f} to {gain.high:.2f})"


def signed(value: float | None) -> str:
    """A difference in tokens per step."""
    return NONE if value is None else f"{value:+.3f}".replace("-", "−")


def share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}".replace("%", "\u00a0%") if whole else NONE


def count(value: float) -> str:
    """A whole number with thin spaces between the thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
