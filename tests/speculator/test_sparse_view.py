"""Which slots a view looks at, and when it counts as stale."""

from __future__ import annotations

import numpy as np

from models.pages import PageTable
from speculator.sparse_view import Acceptance, SparseView


def test_a_view_looks_at_what_was_picked_and_all_from_its_window_on_in_the_order_of_the_text() -> None:
    pages = PageTable(4, [5, 2, 9])
    view = SparseView(pages, np.array([0, 5, 6]), since=8)
    assert view.seen(8).tolist() == [20, 9, 10]
    assert view.seen(11).tolist() == [20, 9, 10, 36, 37, 38]


def test_it_outlives_the_pages_that_the_text_has_to_give_up() -> None:
    view = SparseView(PageTable(4, [5, 2, 9]), np.array([1, 4]), since=8)
    view.pages = PageTable(4, [0, 7, 3])
    assert view.seen(9).tolist() == [1, 28, 12]


def saw(*stretches: tuple[bool, int]) -> Acceptance:
    acceptance = Acceptance()
    for right, count in stretches:
        for _ in range(count):
            acceptance.saw(right)
    return acceptance


def test_acceptance_has_fallen_when_it_is_clearly_less_than_at_first() -> None:
    assert not saw().fallen
    assert not saw((True, 24)).fallen
    assert not saw((True, 24), (False, 4)).fallen, "four in a row may be chance"
    assert saw((True, 24), (False, 5)).fallen
    assert not saw((True, 24), (False, 5), (True, 40)).fallen


def test_what_was_bad_from_the_first_has_not_fallen() -> None:
    """Else it would be chosen anew again and again for a text that is hard."""
    assert not saw((False, 100)).fallen
    assert not saw((True, 12), (False, 12), *[(True, 1), (False, 1)] * 40).fallen
