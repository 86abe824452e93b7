"""A report as Markdown: one table of the goals, then every case."""

from __future__ import annotations

from collections.abc import Sequence

from bench.ratios import Ratio
from bench.results import Figure, Measure, Report

_SUMMARY = ("figure", "at least", "aim", "worst case", "95 %", "middle", "best", "reached")
_CASES = ("what", "domain", "T", "at once", "trainer", "looping answers", "ratio", "95 %", "extremes", "n", "")


def render(report: Report) -> str:
    """The whole page."""
    about = {
        **report.about,
        "run": f"{report.started_at}, {report.seconds / 60:.0f} minutes",
        "near-ties among all outputs compared": f"{report.num_near_ties}, each proven",
    }
    parts = ["# Figures\n"]
    if not report.full:
        parts.append("**Tiny sizes, to try the bench itself: these figures mean nothing.**\n")
    parts.append("\n".join(f"- {title}: {text}" for title, text in about.items()) + "\n")
    parts.append("Worst, middle and best case: of temperatures, domains, trainer off and on; looping answers left out.\n")
    parts.append(_table(_SUMMARY, [_summary(figure) for figure in report.figures]))
    for figure in report.figures:
        parts.append(f"\n## {figure.goal.title}\n")
        parts += [f"Not measured: {why}\n" for why in (*figure.failures, *figure.notes)]
        if figure.measures:
            parts.append(_table(_CASES, [_case(measure) for measure in figure.measures]))
    return "\n".join(parts)


def _summary(figure: Figure) -> Sequence[str]:
    goal, cases = figure.goal, figure.counting
    limits = [f"{'at most ' if goal.most else ''}{limit:g}" for limit in (goal.at_least, goal.aim)]
    if not cases:
        return (goal.title, *limits, "not measured", "", "", "", "no")
    worst, middle, best = (f"{cases[at].value:.3g}" for at in (0, len(cases) // 2, -1))
    return (goal.title, *limits, worst, _interval(cases[0]), middle, best, "yes" if figure.reached else "no")


def _case(measure: Measure) -> Sequence[str]:
    ratio = measure.ratio
    return (
        measure.what if measure.judged else f"*{measure.what}*",
        measure.domain,
        "both" if measure.temperature is None else f"{measure.temperature:g}",
        str(measure.concurrency),
        measure.trainer,
        "with" if measure.loops else "without",
        f"{ratio.value:.3g}",
        _interval(ratio),
        f"{ratio.low:.3g} to {ratio.high:.3g}",
        str(ratio.num),
        measure.detail,
    )


def _interval(ratio: Ratio) -> str:
    return f"{ratio.lower:.3g} to {ratio.upper:.3g}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _escaped(cell: str) -> str:
    """A pipe would end the cell, a line break the row."""
    return " ".join(cell.replace("|", "\\|").split())
