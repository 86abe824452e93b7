"""What a draft model has read into a page it does not read again, for whoever shares the page."""

from __future__ import annotations

from speculator.known_pages import KnownPages

TEXT = list(range(20))


def test_a_text_is_known_as_far_as_the_same_was_read_into_its_pages() -> None:
    known = KnownPages(4)
    known.read("v", [5, 3, 9, 7, 8], TEXT, 0, 14)
    assert known.known("v", [5, 3, 9, 7, 8], TEXT) == 12, "a page of which two tokens were read is not known"
    assert known.known("v", [5, 3, 1], TEXT) == 8
    assert known.known("v", [3, 5, 9], TEXT) == 0
    assert known.known("v", [5, 3, 9], [*TEXT[:6], 0, *TEXT[7:]]) == 4
    assert known.known("v", [5, 3, 9], [99, *TEXT[1:]]) == 0, "the same page behind another text holds other keys"


def test_the_newest_token_is_read_in_any_case() -> None:
    known = KnownPages(4)
    known.read("v", [0, 1], TEXT, 0, 8)
    assert [known.known("v", [0, 1], TEXT[:length]) for length in (1, 4, 5, 8, 9)] == [0, 0, 4, 4, 8]


def test_a_text_may_be_read_in_portions() -> None:
    known = KnownPages(4)
    for start, stop in ((0, 3), (3, 9), (9, 10), (10, 13)):
        known.read("v", [0, 1, 2, 3], TEXT, start, stop)
    assert known.known("v", [0, 1, 2, 3], TEXT) == 12


def test_a_page_that_others_read_or_branched_into_is_not_known() -> None:
    known = KnownPages(4)
    known.read("v", [0, 1, 2], TEXT, 0, 12)
    known.read("v", [7, 2], [40, 41, 42], 0, 3)
    assert known.known("v", [0, 1, 2], TEXT) == 8


def test_what_other_weights_have_read_is_read_again() -> None:
    known = KnownPages(4)
    known.read("old", [0, 1, 2], TEXT, 0, 5)
    known.read("new", [0, 1, 2], TEXT, 5, 12)  # a text that was going on when they came
    assert known.known("new", [0, 1, 2], TEXT) == 0
    known.read("new", [0, 1, 2], TEXT, 0, 12)
    assert known.known("new", [0, 1, 2], TEXT) == 12
