"""Cost tables: what was measured, between what was measured, and as it changes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator.cost import ROWS, CostTable, StepCosts, rising
from tests.speculator.worlds import pass_seconds


def profiled() -> CostTable:
    table = CostTable()
    table.profile(pass_seconds)
    return table


def test_a_profiled_table_says_what_was_measured_and_interpolates_between() -> None:
    table = profiled()
    for rows in (1, 2, 5, 16, 20, 40, 100, 256):
        assert table.seconds(rows) == pytest.approx(pass_seconds(rows), rel=0.02)


def test_beyond_what_was_measured_cost_goes_on_rising_at_the_last_rate() -> None:
    assert profiled().seconds(400) == pytest.approx(pass_seconds(400), rel=0.02)


def test_a_profile_takes_the_best_of_several_runs() -> None:
    rng = random.Random(0)
    table = CostTable()
    table.profile(lambda rows: pass_seconds(rows) * (1 + rng.choice([0, 0, 5])), repeats=9)
    assert table.seconds(8) == pytest.approx(pass_seconds(8))


@given(st.lists(st.floats(1e-4, 1e-1), min_size=len(ROWS), max_size=len(ROWS)))
def test_cost_never_falls_with_size_whatever_was_measured(seconds: list[float]) -> None:
    table = CostTable()
    table.profile(dict(zip(ROWS, seconds, strict=True)).__getitem__, repeats=1)
    curve = table.slice(0, 300)
    assert all(later >= earlier * (1 - 1e-9) for earlier, later in pairwise(curve))


def test_a_machine_that_slows_down_slows_down_everywhere() -> None:
    table = profiled()
    for _ in range(100):
        table.measured(9, pass_seconds(9))
    for _ in range(60):
        table.measured(9, 2 * pass_seconds(9))
    for rows in (1, 9, 32):
        assert table.seconds(rows) == pytest.approx(2 * pass_seconds(rows), rel=0.25)


def test_a_size_that_alone_costs_more_is_learnt_for_itself() -> None:
    table = profiled()
    for _ in range(1500):
        table.measured(1, pass_seconds(1))
        table.measured(16, 1.5 * pass_seconds(16))
    assert table.seconds(16) / table.seconds(1) == pytest.approx(1.5 * pass_seconds(16) / pass_seconds(1), rel=0.1)


def test_a_wrong_profile_is_corrected_where_it_is_measured_and_nearby() -> None:
    table = CostTable()
    table.profile(lambda rows: pass_seconds(rows) * (1 if rows == 1 else 3))
    for _ in range(60):
        table.measured(1, pass_seconds(1))
        table.measured(8, pass_seconds(8))
    assert table.seconds(8) == pytest.approx(pass_seconds(8), rel=0.2)
    assert table.seconds(6) < 2 * pass_seconds(6)
    assert table.seconds(1) == pytest.approx(pass_seconds(1), rel=0.1)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 9)), min_size=1, max_size=8))
def test_rising_values_are_the_nearest_that_never_fall(points: list[tuple[float, int]]) -> None:
    """By the minimax formula of isotonic regression: max over starts of min over ends of the mean between."""
    values, weights = zip(*points, strict=True)

    def mean(start: int, end: int) -> float:
        part = slice(start, end + 1)
        return sum(v * w for v, w in zip(values[part], weights[part], strict=True)) / sum(weights[part])

    number = len(values)
    expected = [
        max(min(mean(start, end) for end in range(at, number)) for start in range(at + 1)) for at in range(number)
    ]
    assert rising(values, weights) == pytest.approx(expected)


def test_a_hiccup_moves_little() -> None:
    table = profiled()
    table.measured(8, 100 * pass_seconds(8))
    assert table.seconds(8) < 1.5 * pass_seconds(8)


def test_before_anything_is_measured_cost_is_unknown_then_like_the_first() -> None:
    table = CostTable()
    assert table.seconds(4) == 0.0
    table.measured(4, 0.5)
    assert table.seconds(4) == pytest.approx(0.5)
    assert table.seconds(1) < table.seconds(64)


@pytest.mark.parametrize(("start", "num"), [(1, 20), (250, 20), (300, 3)])
def test_a_slice_is_a_stretch_of_the_table(start: int, num: int) -> None:
    table = profiled()
    assert table.slice(start, num) == pytest.approx([table.seconds(start + index) for index in range(num)])


A, B = frozenset({"a"}), frozenset({"a", "b"})


def test_drafting_costs_are_kept_by_arm_and_number_of_sequences() -> None:
    costs = StepCosts()
    for _ in range(400):
        costs.drafted(A, 1, 1e-3)
        costs.drafted(A, 16, 4e-3)
        costs.drafted(B, 1, 2e-3)
    assert costs.drafting(A, 1) == pytest.approx(1e-3, rel=0.2)
    assert costs.drafting(A, 16) == pytest.approx(4e-3, rel=0.2)
    assert costs.drafting(B, 1) == pytest.approx(2e-3, rel=0.2)
    assert costs.drafting(frozenset({"never asked"}), 1) == 0.0


PER_SEQUENCE = 1e-4


def profiled_costs() -> StepCosts:
    costs = StepCosts()
    costs.profile(lambda num_sequences, rows: pass_seconds(rows) + (num_sequences - 1) * PER_SEQUENCE)
    return costs


@pytest.mark.parametrize("num_sequences", [1, 3, 5, 16, 21])
@pytest.mark.parametrize("num_drafted", [0, 2, 11, 40])
def test_sequences_cost_more_than_as_many_rows_of_one(num_sequences: int, num_drafted: int) -> None:
    expected = pass_seconds(num_sequences + num_drafted) + (num_sequences - 1) * PER_SEQUENCE
    costs = profiled_costs()
    assert costs.seconds(num_sequences, num_drafted) == pytest.approx(expected, rel=0.02)
    assert costs.steps(num_sequences, 0, num_drafted)[-1] == pytest.approx(expected, rel=0.05)


def test_beside_prompts_nodes_cost_what_rows_cost_there_and_the_prompts_nothing() -> None:
    steps = profiled_costs().steps(4, 100, 10)
    plain = pass_seconds(4) + 3 * PER_SEQUENCE
    assert steps[0] == pytest.approx(plain, rel=0.02)
    assert steps[10] - steps[0] == pytest.approx(pass_seconds(114) - pass_seconds(104), rel=0.05)


def test_the_price_of_plain_decoding_does_not_rise_because_drafts_cost_more_than_the_profile_says() -> None:
    costs, plain = profiled_costs(), pass_seconds(16) + 15 * PER_SEQUENCE
    for _ in range(20):
        costs.measured(16, 0, plain)
    for _ in range(200):
        costs.measured(16, 20, 1.6 * pass_seconds(36))
    assert costs.seconds(16, 20) == pytest.approx(1.6 * pass_seconds(36), rel=0.05)
    assert costs.seconds(16) < 1.12 * plain


def test_before_anything_is_measured_nothing_is_known() -> None:
    costs = StepCosts()
    assert costs.seconds(5) == 0.0
    costs.measured(5, 0, 3e-3)
    assert costs.seconds(5) == pytest.approx(3e-3, rel=0.01)


def test_a_few_plain_steps_tell_how_much_slower_steps_are_than_the_passes_of_the_profile() -> None:
    costs = StepCosts()
    costs.profile(lambda num_sequences, rows: 1e-3 * (1 + rows / 64))
    assert costs.seconds(8) == pytest.approx(1.125e-3)
    for _ in range(4):
        costs.measured(8, 0, 2.2e-3)
    assert costs.seconds(8) == pytest.approx(2.2e-3, rel=0.03)
    drafted = costs.seconds(8, 16) / costs.seconds(8)
    assert drafted == pytest.approx((1 + 24 / 64) / (1 + 8 / 64), rel=0.05), "what nodes cost beside it is the profile's to say"
    # who was never measured starts where the next one stands
    assert costs.seconds(12) == pytest.approx(2.2e-3 * (1 + 12 / 64) / (1 + 8 / 64), rel=0.05)
