"""Figures and their page: what is reached, what failed, and how it reads."""

from __future__ import annotations

from bench.markdown import render
from bench.ratios import Ratio
from bench.results import Figure, Goal, Measure, Report, gather

SPEED = Goal(name="speed", title="how fast", at_least=1.5, aim=2.5)
GAP = Goal(name="gap", title="how long a gap", at_least=3.0, aim=1.0, most=True)


def ratio(value: float) -> Ratio:
    return Ratio(value=value, lower=value - 0.25, upper=value + 0.25, low=value - 0.5, high=value + 0.5, num=12)


def measure(value: float, goal: Goal = SPEED, **case: object) -> Measure:
    return Measure(goal=goal.name, what="one thing", ratio=ratio(value), **case)  # type: ignore[arg-type]


def report(*figures: Figure, full: bool = True) -> Report:
    return Report(started_at="today", seconds=90.0, full=full, about={"machine": "a toaster"}, figures=figures, num_near_ties=2)


def rows(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]


def test_a_figure_is_reached_by_its_worst_case_without_loops() -> None:
    cases = (measure(1.2), measure(1.6, loops=False), measure(1.9, loops=False))
    figure = Figure(goal=SPEED, measures=cases)
    assert [each.value for each in figure.counting] == [1.6, 1.9]
    assert figure.reached
    assert not Figure(goal=SPEED, measures=(*cases, measure(1.4, loops=False))).reached


def test_where_loops_are_not_set_apart_every_case_counts() -> None:
    assert not Figure(goal=SPEED, measures=(measure(1.4), measure(1.6))).reached


def test_of_an_upper_limit_the_worst_case_is_the_greatest() -> None:
    figure = Figure(goal=GAP, measures=(measure(2.0, GAP), measure(4.0, GAP)))
    assert figure.counting[0].value == 4.0
    assert not figure.reached
    assert Figure(goal=GAP, measures=(measure(2.0, GAP),)).reached


def test_a_control_counts_for_nothing() -> None:
    figure = Figure(goal=SPEED, measures=(measure(1.6), measure(0.5, judged=False)))
    assert figure.reached
    assert not Figure(goal=SPEED, measures=(measure(1.6, judged=False),)).reached


def test_a_figure_with_a_case_that_failed_is_not_reached() -> None:
    assert not Figure(goal=SPEED, measures=(measure(2.0),), failures=("the trainer ended",)).reached


def test_measures_find_their_figure_and_untried_goals_are_left_out() -> None:
    figures = gather((SPEED, GAP), [measure(2.0), measure(1.0)], [("speed", "why not")])
    assert [(figure.goal.name, len(figure.measures), figure.failures) for figure in figures] == [("speed", 2, ("why not",))]


def test_the_page_holds_limits_worst_middle_and_best() -> None:
    figure = Figure(goal=SPEED, measures=tuple(measure(value) for value in (1.9, 1.55, 1.7)))
    row = next(row for row in rows(render(report(figure))) if row[0] == "how fast")
    assert row == ["how fast", "1.5", "2.5", "1.55", "1.3 to 1.8", "1.7", "1.9", "yes"]


def test_the_page_holds_every_case_with_its_spread() -> None:
    case = measure(1.5, domain="sql", temperature=0.8, concurrency=16, trainer="on", loops=False, detail="300 | 200 tokens/s")
    page = render(report(Figure(goal=SPEED, measures=(case,))))
    assert "| one thing | sql | 0.8 | 16 | on | without | 1.5 | 1.25 to 1.75 | 1 to 2 | 12 | 300 \\| 200 tokens/s |" in page


def test_what_was_not_measured_says_why() -> None:
    page = render(report(Figure(goal=SPEED, measures=(), failures=("3 of 9 outputs differ",))))
    assert "not measured" in next(row for row in rows(page) if row[0] == "how fast")
    assert "Not measured: 3 of 9 outputs differ" in page


def test_tiny_sizes_are_said_to_mean_nothing() -> None:
    assert "mean nothing" in render(report(full=False))
    assert "mean nothing" not in render(report())


def test_the_page_says_on_what_machine_and_how_many_near_ties() -> None:
    page = render(report())
    assert "- machine: a toaster" in page
    assert "2, each proven" in page
