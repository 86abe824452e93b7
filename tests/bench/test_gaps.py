"""Gaps between steps: what counts, and where."""

from __future__ import annotations

import pytest

from bench.gaps import Step, gaps_between


def steps(*ends: float, prompts: tuple[float, ...] = ()) -> list[Step]:
    return [Step(end, end in prompts) for end in ends]


def test_the_longest_gap_and_the_median_are_those_of_the_window_alone() -> None:
    found = gaps_between(steps(0.0, 9.0, 10.0, 11.0, 14.0, 15.0, 30.0), 9.0, 15.0)
    assert found is not None
    assert (found.longest, found.median) == (3.0, 1.0)


def test_a_step_that_reads_a_prompt_is_no_gap_and_splits_none() -> None:
    found = gaps_between(steps(1.0, 2.0, 7.0, 8.0, prompts=(7.0,)), 0.0, 10.0)
    assert found is not None
    assert found.longest == pytest.approx(1.0)


def test_a_window_without_two_steps_has_no_gaps() -> None:
    assert gaps_between(steps(1.0, 20.0), 0.0, 10.0) is None
