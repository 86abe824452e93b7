"""What a run of the bench found: figures, each of them measured in several cases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from bench.ratios import Ratio

SCHEMA = 1

Trainer = Literal["off", "on"]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A figure to reach."""

    name: str
    title: str
    at_least: float
    aim: float
    most: bool = False
    """The limits are upper ones: less is better."""

    def reached_by(self, ratio: Ratio) -> bool:
        return ratio.value <= self.at_least if self.most else ratio.value >= self.at_least


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure in one case."""

    goal: str
    """Name of the Goal."""
    what: str
    ratio: Ratio
    domain: str = "all"
    temperature: float | None = None
    """None: some requests at 0, some at 0.8."""
    concurrency: int = 1
    trainer: Trainer = "off"
    loops: bool = True
    """Whether answers that loop are among them."""
    judged: bool = True
    """False: a control, or context: not held against the goal."""
    detail: str = ""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A goal and everything measured for it."""

    goal: Goal
    measures: tuple[Measure, ...]
    failures: tuple[str, ...] = ()
    """Why cases of it could not be measured."""
    notes: tuple[str, ...] = ()
    """Why it was left out, where that is no failure."""

    @property
    def counting(self) -> tuple[Ratio, ...]:
        """The cases that count, the worst first: those without looping answers, or all where none are set apart."""
        judged = [measure for measure in self.measures if measure.judged]
        counting = [measure.ratio for measure in judged if not measure.loops] or [measure.ratio for measure in judged]
        return tuple(sorted(counting, key=lambda ratio: ratio.value, reverse=self.goal.most))

    @property
    def reached(self) -> bool:
        """By the worst case."""
        return bool(self.counting) and not self.failures and self.goal.reached_by(self.counting[0])


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    schema: int = SCHEMA
    started_at: str
    seconds: float
    full: bool
    """False: sizes were tiny, and the figures mean nothing."""
    about: dict[str, str]
    """Machine, software, target, prompts."""
    figures: tuple[Figure, ...]
    num_near_ties: int
    """Differences from plain decoding in all comparisons of the run, each proven a near-tie."""


def gather(
    goals: Iterable[Goal],
    measures: Iterable[Measure],
    failures: Iterable[tuple[str, str]],
    notes: Iterable[tuple[str, str]] = (),
) -> tuple[Figure, ...]:
    """Figures from loose measures. failures, notes: (goal's name, why). Goals that nobody tried are left out."""
    all_measures, all_failures, all_notes = list(measures), list(failures), list(notes)
    figures = (
        Figure(
            goal=goal,
            measures=tuple(measure for measure in all_measures if measure.goal == goal.name),
            failures=tuple(why for name, why in all_failures if name == goal.name),
            notes=tuple(why for name, why in all_notes if name == goal.name),
        )
        for goal in goals
    )
    return tuple(figure for figure in figures if figure.measures or figure.failures or figure.notes)
