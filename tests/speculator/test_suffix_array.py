"""The suffix array against sorting and searching by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from speculator.drafts import Tree
from speculator.rest_hits import Hits
from speculator.suffix_array import END, MAX_MATCH, SuffixArray, joined, sorted_suffixes
from speculator.suffix_growth import grow, unseen_weights
from tests.speculator.toys import paths

TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=40), max_size=5)


def occurrences(texts: list[list[int]], pattern: list[int]) -> list[list[int]]:
    """What follows `pattern`, wherever it occurs."""
    size = len(pattern)
    return [text[at + size :] for text in texts for at in range(len(text) - size + 1) if text[at : at + size] == pattern]


@settings(max_examples=200, deadline=None)
@given(st.one_of(TEXTS.map(joined), st.lists(st.integers(0, 2), max_size=40).map(np.array)), st.integers(1, 40))
def test_places_are_sorted_as_by_hand(values: NDArray[np.int32], depth: int) -> None:
    deep = 1 << (depth - 1).bit_length()  # prefix doubling goes to the next power of two
    listed = values.tolist()
    expected = sorted(range(len(values)), key=lambda place: listed[place : place + deep])
    assert sorted_suffixes(values, depth).tolist() == [place for place in expected if values[place] != END]


def test_large_tokens_and_equal_texts_are_no_trouble() -> None:
    texts = [[200_000, 255, 256, 65_536] * 30] * 20
    store = SuffixArray.of(texts)
    assert len(store) == 20 * 120
    start, stop = store.interval([255, 256])
    assert stop - start == 20 * 30
    assert store.interval([256, 255])[0] == store.interval([256, 255])[1]


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_an_interval_is_where_a_pattern_occurs(texts: list[list[int]], pattern: list[int]) -> None:
    store = SuffixArray.of(texts)
    start, stop = store.interval(pattern)
    expected = occurrences(texts, pattern)
    assert stop - start == len(expected)
    runs = [store.run(place + len(pattern), 100) for place in store.places(start, stop, 10**6)]
    assert sorted(runs) == sorted(expected)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 3), max_size=MAX_MATCH + 5))
def test_the_longest_suffix_found_is_the_longest_there_is(texts: list[list[int]], context: list[int]) -> None:
    start, stop, length = SuffixArray.of(texts).longest_suffix(context)
    fitting = [size for size in range(1, MAX_MATCH + 1) if size <= len(context) and occurrences(texts, context[-size:])]
    assert length == max(fitting, default=0)
    assert (stop > start) == (length > 0)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_children_are_counted_as_by_hand(texts: list[list[int]], pattern: list[int]) -> None:
    store = SuffixArray.of(texts)
    start, stop, length = store.longest_suffix(pattern)
    if not length:
        return
    followed = occurrences(texts, pattern[-length:])
    hits = Hits(store, start, stop, length)
    if len(followed) == 1:
        assert hits.run(0, length, 5) == followed[0][:5]
    elif len(followed) <= 32:
        counts = {token: sum(each[:1] == [token] for each in followed) for token in range(4)}
        found = hits.children(0, 4)
        assert {token: count for count, token, _ in found} == {token: count for token, count in counts.items() if count}
        assert all(left >= right for (left, *_), (right, *_) in pairwise(found))
        for count, token, child in found:
            assert hits.count(child) == count
            below = {each[1] for each in followed if each[:1] == [token] and len(each) > 1}
            assert {each for _, each, _ in hits.children(child, 4)} == below or hits.run(child, length + 1, 1) == list(below)


def test_of_many_places_those_looked_at_are_a_fair_sample_of_what_follows() -> None:
    store = SuffixArray.of([[9, 1]] * 600 + [[9, 2]] * 300 + [[9, 3]] * 100)
    hits = Hits(store, *store.longest_suffix([9]))
    shares = {token: count / hits.count(0) for count, token, _ in hits.children(0, 4)}
    # at even distances each share is right to one place of 32
    np.testing.assert_allclose([shares[1], shares[2], shares[3]], [0.6, 0.3, 0.1], atol=1 / 32)


def test_a_draft_follows_what_followed_to_the_end_of_its_text_and_no_further() -> None:
    store = SuffixArray.of([[5, 6, 7, 8], [9, 9], [5, 6, 7, 1]])
    draft = Tree.rooted(5)
    hits = Hits(store, *store.longest_suffix([0, 5]))
    grow(draft, [(hits, 0, 1, unseen_weights(1.0))], 20, 10)
    assert set(paths(draft)) == {(), (6,), (6, 7), (6, 7, 8), (6, 7, 1)}
