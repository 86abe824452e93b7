"""The report's page and its figures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from cli.demo.claims import Claim
from cli.demo.figures import Figures, HeadsRow, Mark, Point, Settings, TrafficRow, VersionRow
from cli.demo.gains import Gain
from cli.demo.report import render, write_report
from cli.demo.report.chart import ticks
from cli.demo.stack import Version

GAIN = Gain(48, 1.36, 1.9, 1.4, 1.31, 1.49)
VOID = {"area", "base", "br", "hr", "img", "input", "link", "meta"}


def figures(label: str = "sql", held: bool = True, num_points: int = 30) -> Figures:
    points = tuple(
        Point(
            num_requests=10 * number,
            seconds=2.0 * number,
            static=1.4,
            adaptive=1.4 + 0.01 * number if number else None,
            served=2.1,
            tokens_per_second=200.0,
            version="abcdef0123456789",
            training_step=number,
        )
        for number in range(1, num_points + 1)
    )
    heads = HeadsRow(
        domain=label, temperature=0.0, num_answers=48, num_looping=3, everything=GAIN, without_looping=None, served=2.2
    )
    traffic = TrafficRow(
        phase="1", domain=label, num_requests=300, num_failed=0, num_tokens=9000, num_looping=3,
        median_latency=None, served=None,
    )  # fmt: skip
    version = Version(
        version="abcdef0123456789", parent=None, created_at=0.0, num_traces=12, gain=-0.2, gain_lower=-0.4, published=False
    )
    return Figures(
        settings=Settings(
            started_at="2025-01-01 10:00", seconds=400.0, prompts="written", seed=0, temperature=0.8, concurrency=4,
            about={"Target": label},
        ),
        claims=(Claim("No failed request", True, "300 requests"), Claim(f"Gain on {label}", held, "by 1.4")),
        num_requests=300, num_tokens=9000, tokens_per_second=187.3, worst_window=0.93, gain=GAIN,
        points=points,
        marks=(Mark("phase", 0, label), Mark("phase", 150, "math"), Mark("swap", 200, f"version of {label}")),
        heads=(heads,), traffic=(traffic,), versions=(VersionRow(version, None),),
    )  # fmt: skip


class Balanced(HTMLParser):
    """Fails on a tag that is closed out of order; collects addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere() -> None:
    page = render(figures())
    assert parsed(page).addresses == []
    assert not re.search(r"@import|url\(|https?:|<script", page)


def test_text_from_outside_cannot_become_markup() -> None:
    page = render(figures('<script>alert("x")</script>&'))
    parsed(page)
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_every_drawing_is_valid_xml_with_all_its_curves() -> None:
    drawings = [found for found in re.findall(r"<svg viewBox.*?</svg>", render(figures())) if "polyline" in found]
    curves = [len(ElementTree.fromstring(drawing).findall("polyline")) for drawing in drawings]
    assert curves == [3, 3, 1, 1]


def test_curves_stay_inside_their_drawing() -> None:
    for drawing in re.findall(r'<svg viewBox="0 0 (\d+) (\d+)" role(.*?)</svg>', render(figures())):
        width, height = int(drawing[0]), int(drawing[1])
        for path in re.findall(r'<polyline [^>]*points="([^"]+)"', drawing[2]):
            for x, y in (pair.split(",") for pair in path.split()):
                assert 0 <= float(x) <= width
                assert 0 <= float(y) <= height


def test_the_page_says_whether_the_claims_hold() -> None:
    assert "All 2 claims hold" in render(figures())
    failed = render(figures(held=False))
    assert "1 of 2 claims did not hold" in failed
    assert "All 2 claims hold" not in failed


def test_the_json_beside_the_page_holds_the_same_figures(tmp_path: Path) -> None:
    page, data = write_report(figures(), tmp_path / "new" / "folder")
    assert page.read_text(encoding="utf-8") == render(figures())
    assert msgspec.json.decode(data.read_bytes(), type=Figures) == figures()


@pytest.mark.parametrize("num_points", [0, 1])
def test_a_run_that_ended_at_once_still_has_a_report(num_points: int) -> None:
    empty = msgspec.structs.replace(
        figures(num_points=num_points), gain=None, worst_window=None, marks=(), heads=(), traffic=(), versions=()
    )
    parsed(render(empty))


@pytest.mark.parametrize(
    ("start", "end", "wanted", "expected"),
    [
        (0.0, 1236.0, 8, [0, 200, 400, 600, 800, 1000, 1200, 1400]),
        (1.0, 2.38, 5, [1.0, 1.5, 2.0, 2.5]),
        (0.0, 1.0, 3, [0, 0.5, 1.0]),
        (1.0, 1.5, 5, [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]),
    ],
)
def test_ticks_are_round_and_enclose_the_data(start: float, end: float, wanted: int, expected: list[float]) -> None:
    assert ticks(start, end, wanted) == pytest.approx(expected)
