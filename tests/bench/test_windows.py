"""The worst window, against trying them all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.windows import worst_window

COUNTS = st.tuples(st.integers(1, 90), st.integers(1, 60))


@given(st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=30), st.integers(1, 40))
def test_no_window_is_worse_than_the_worst(answers: list[tuple[tuple[int, int], tuple[int, int]]], size: int) -> None:
    ours, theirs = [our for our, _ in answers], [their for _, their in answers]

    def ratio(window: range) -> float:
        rates = [sum(side[at][0] for at in window) / sum(side[at][1] for at in window) for side in (ours, theirs)]
        return rates[0] / rates[1]

    length = min(size, len(answers))
    worst = worst_window(ours, theirs, size)
    assert len(worst) == length
    assert worst.stop <= len(answers)
    every = [ratio(range(start, start + length)) for start in range(len(answers) - length + 1)]
    assert ratio(worst) == pytest.approx(min(every))


def test_a_dip_is_found_where_it_is() -> None:
    ours = [(10.0, 5.0)] * 40
    ours[20:25] = [(10.0, 12.0)] * 5
    assert worst_window(ours, [(10.0, 10.0)] * 40, 5) == range(20, 25)
