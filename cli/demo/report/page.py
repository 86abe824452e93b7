"""The page from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import msgspec

from cli.demo.claims import Claim
from cli.demo.figures import WINDOW, Figures, Point
from cli.demo.report.chart import Series, chart
from cli.demo.report.html import NONE, count, length, minutes, section
from cli.demo.report.style import CSS
from cli.demo.report.tables import heads_table, traffic_table, versions_table
from cli.demo.report.words import limits, meaning


def write_report(figures: Figures, folder: Path) -> tuple[Path, Path]:
    """Writes `report.html` and `report.json` into `folder` (made if missing); returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "report.html", folder / "report.json"
    page.write_text(render(figures), encoding="utf-8")
    data.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2))
    return page, data


def render(figures: Figures) -> str:
    """The page as HTML, everything inline."""
    sections = (
        _head(figures),
        _tiles(figures),
        _claims(figures.claims),
        _acceptance(figures),
        _speed(figures),
        heads_table(figures.heads),
        traffic_table(figures.traffic),
        versions_table(figures.versions),
        meaning(),
        limits(figures),
        _foot(figures),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Everdraft demo</title><style>{CSS}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(figures: Figures) -> str:
    failed = sum(not claim.held for claim in figures.claims)
    total = len(figures.claims)
    word = f"{failed} of {total} claims did not hold" if failed else f"All {total} claims hold"
    settings = figures.settings
    lead = (
        f"{settings.started_at}: {count(figures.num_requests)} requests in {minutes(settings.seconds)}. "
        "Speculation learnt from the traffic while it served, and the traffic changed under way."
    )
    return (
        f'<header><span class="verdict {"bad" if failed else "good"}">{word}</span>'
        f'<h1>Everdraft: the loop, closed on one machine</h1><p class="lead">{escape(lead)}</p></header>'
    )


def _tiles(figures: Figures) -> str:
    gain = figures.gain
    interval = "" if gain is None else f"; 95\u00a0%: {gain.low:.2f} to {gain.high:.2f}"
    served = next((point.served for point in reversed(figures.points) if point.served is not None), None)
    tiles = (
        (
            NONE if gain is None else f"{gain.ratio:.2f}×",
            f"the tokens per step of the heads as shipped, heads alone, on the last domains{interval}",
        ),
        (length(served), f"tokens per step as served, all sources together, over the last {WINDOW} requests"),
        (
            f"{figures.tokens_per_second:.0f}",
            "tokens per second overall, trainer and client on the same cores",
        ),
        (
            str(sum(mark.kind == "swap" for mark in figures.marks)),
            "new versions swapped in while requests were running",
        ),
    )
    cards = (f"<b>{escape(value)}</b><span>{escape(text)}</span>" for value, text in tiles)
    return f'<div class="tiles">{"".join(f"<div class=tile>{card}</div>" for card in cards)}</div>'


def _claims(claims: Sequence[Claim]) -> str:
    items = "".join(
        f'<li><i class="{"good" if claim.held else "bad"}">{"✓" if claim.held else "✗"}</i>'
        f"<div><strong>{escape(claim.name)}</strong><span>{escape(claim.detail)}</span></div></li>"
        for claim in claims
    )
    note = "The command fails when one of these does not hold."
    return section("What this run claims", note, f'<ul class="claims">{items}</ul>')


def _acceptance(figures: Figures) -> str:
    curves = (
        _curve(figures.points, "All sources, as served", "served", lambda point: point.served),
        _curve(figures.points, "Adaptive heads", "adaptive", lambda point: point.adaptive),
        _curve(figures.points, "Static heads", "static", lambda point: point.static),
    )
    note = (
        f"Tokens that one pass of the target yields, over the last {WINDOW} requests; 1 is plain decoding. "
        "Static and adaptive heads are scored on the same served text."
    )
    drawing = chart(curves, figures.marks, "Mean acceptance length over requests", 1.0)
    return section("Mean acceptance length", note, _legend(curves, "{:.2f}") + drawing)


def _speed(figures: Figures) -> str:
    curves = (_curve(figures.points, "Tokens per second", "served", lambda point: point.tokens_per_second),)
    note = (
        "All requests together. Domains differ in length and difficulty, and the trainer takes its share "
        "of the same cores: this shows the run, not what speculation gains. `make bench` measures that."
    )
    drawing = chart(curves, figures.marks, "Tokens per second over requests", 0.0)
    return section("Throughput", note, _legend(curves, "{:.0f}") + drawing)


def _curve(points: Sequence[Point], name: str, style: str, value: Callable[[Point], float | None]) -> Series:
    found = ((point.num_requests, value(point)) for point in points)
    return Series(name, style, tuple((float(at), y) for at, y in found if y is not None))


def _legend(curves: Sequence[Series], form: str) -> str:
    """What the curves are and where they end."""
    items = "".join(
        f'<li><svg viewBox="0 0 26 10"><line class="curve {curve.style}" x1="0" x2="26" y1="5" y2="5"/></svg>'
        f"{escape(curve.name)} <b>{form.format(curve.points[-1][1])}</b></li>"
        for curve in curves
        if curve.points
    )
    diamond = '<svg viewBox="0 0 26 10"><polygon class="swap" points="13,0 18,5 13,10 8,5"/></svg>'
    return f'<ul class="legend">{items}<li>{diamond}new version in service</li></ul>'


def _foot(figures: Figures) -> str:
    settings = figures.settings
    facts = {
        **settings.about,
        "Prompts": settings.prompts,
        "Sampling": f"temperature {settings.temperature:g}, seed {settings.seed}",
        "Concurrency": f"{settings.concurrency} requests at a time",
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return section("How it was run", "All figures of this page are in `report.json` beside it.", f"<dl>{rows}</dl>")
