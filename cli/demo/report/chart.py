"""Curves over requests as inline SVG, coloured by the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cli.demo.figures import Mark

_LETTER = 7.5
"""Pixels that a letter of a label takes at most, about."""
WIDE, NARROW = (960, 350), (360, 270)
"""Width and height of the two drawings, in pixels."""


@dataclass(frozen=True)
class Series:
    """A curve; `style` is the class that colours it."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Frame:
    """Where things are, in pixels."""

    width: int
    height: int
    x_end: float
    y_start: float
    y_end: float
    left: int = 44
    margin: int = 12
    top: int = 44
    below: int = 40

    @property
    def right(self) -> int:
        return self.width - self.margin

    @property
    def bottom(self) -> int:
        return self.height - self.below

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * value / self.x_end

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * (value - self.y_start) / (self.y_end - self.y_start)


def chart(series: Sequence[Series], marks: Sequence[Mark], title: str, floor: float) -> str:
    """The curves for wide and for narrow screens; the style shows one. The y axis starts at `floor`."""
    sizes = (("wide", WIDE), ("narrow", NARROW))
    drawings = ((name, _drawing(series, marks, title, floor, *size)) for name, size in sizes)
    return "".join(f'<div class="{name}">{drawing}</div>' for name, drawing in drawings)


def _drawing(series: Sequence[Series], marks: Sequence[Mark], title: str, floor: float, width: int, height: int) -> str:
    points = [point for each in series for point in each.points]
    x_end = max([1.0, *(x for x, _ in points), *(float(mark.num_requests) for mark in marks)])
    y_ticks = ticks(floor, max([floor + 0.5, *(y for _, y in points)]), height // 60)
    frame = _Frame(width, height, x_end, y_ticks[0], y_ticks[-1])
    parts = [
        *_phases(frame, [mark for mark in marks if mark.kind == "phase"]),
        *(_y_tick(frame, tick) for tick in y_ticks),
        *(_x_tick(frame, tick) for tick in ticks(0.0, x_end, width // 110) if tick <= x_end),
        _text((frame.left + frame.right) / 2, height - 4, "requests answered", "middle"),
        *(_swap(frame, mark) for mark in marks if mark.kind == "swap"),
        *(_curve(frame, each) for each in series if each.points),
    ]
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    return head + "".join(parts) + "</svg>"


def ticks(start: float, end: float, wanted: int) -> list[float]:
    """About `wanted` round numbers, from the last at or below `start` to the first at or above `end`."""
    rough = (end - start) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.floor(start / step + 1e-9)
    last = math.ceil(end / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _curve(frame: _Frame, series: Series) -> str:
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in series.points)
    x, y = series.points[-1]
    return (
        f'<polyline class="curve {series.style}" points="{path}"/>'
        f'<circle class="end {series.style}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5"/>'
    )


def _y_tick(frame: _Frame, value: float) -> str:
    y = frame.y(value)
    line = f'<line class="grid" x1="{frame.left}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(frame.left - 8, y + 4, f"{value:g}", "end-of-text")


def _x_tick(frame: _Frame, value: float) -> str:
    return _text(frame.x(value), frame.bottom + 18, f"{value:g}", "middle")


def _phases(frame: _Frame, marks: Sequence[Mark]) -> list[str]:
    """The name of each phase above where it starts, a line higher if it is too long for its phase; from the
    second phase on, a line and a tint."""
    parts = []
    for place, mark in enumerate(marks):
        x = frame.x(mark.num_requests)
        end = frame.x(marks[place + 1].num_requests) if place + 1 < len(marks) else frame.right
        row = 0 if len(mark.label) * _LETTER < end - x else 1
        if place:
            size = f'width="{frame.right - x:.1f}" height="{frame.bottom - frame.top}"'
            ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top - 10}" y2="{frame.bottom}"'
            parts.append(f'<rect class="phase" x="{x:.1f}" y="{frame.top}" {size}/><line class="phase" {ends}/>')
        parts.append(_text(x + 6 if place else x, frame.top - 12 - 16 * row, mark.label, "strong"))
    return parts


def _swap(frame: _Frame, mark: Mark) -> str:
    """A dotted line with a diamond at its foot; what it was shows when pointed at."""
    x, y = frame.x(mark.num_requests), frame.bottom
    diamond = f"{x:.1f},{y - 6} {x + 5:.1f},{y} {x:.1f},{y + 6} {x - 5:.1f},{y}"
    return (
        f'<g class="swap"><title>{escape(mark.label)}</title>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{y}"/><polygon points="{diamond}"/></g>'
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
