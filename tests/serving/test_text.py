"""Token ids to text, and where stop strings end it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.text import AnswerText, Detokenizer, Piece, StopMatcher
from tests.serving.tokenizers import ByteTokenizer, MetaspaceTokenizer, small_bpe

BYTES = ByteTokenizer()
TEXTS = st.text(alphabet="ab é€😀\n", max_size=30)


def pieces(tokenizer: ByteTokenizer, ids: Sequence[int], sizes: Sequence[int]) -> list[str]:
    detokenizer, out, start = Detokenizer(tokenizer), [], 0
    for size in sizes:
        out.append(detokenizer.push(ids[start : start + size]))
        start += size
    return [*out, detokenizer.push(ids[start:])]


def whole_characters(ids: Sequence[int]) -> str:
    """The oracle: all bytes decoded at once, without an unfinished (or wrong) character at the very end."""
    return BYTES.decode(ids).rstrip("\ufffd")


@given(TEXTS, st.lists(st.integers(0, 5), max_size=20))
def test_a_text_cut_anywhere_arrives_whole_without_half_characters(text: str, sizes: list[int]) -> None:
    out = pieces(BYTES, BYTES.encode(text), sizes)
    assert "".join(out) == text
    assert not any("\ufffd" in piece for piece in out)


@given(st.lists(st.integers(0, BYTES.eos), max_size=200), st.lists(st.integers(1, 4), max_size=90))
def test_broken_bytes_become_what_decoding_them_at_once_gives(ids: list[int], sizes: list[int]) -> None:
    out = "".join(pieces(BYTES, ids, sizes))
    whole = BYTES.decode(ids)
    assert whole.startswith(out)
    assert set(whole[len(out) :]) <= {"\ufffd"}
    assert len(whole) - len(out) <= 3
    assert out.startswith(whole_characters(ids))


@pytest.mark.parametrize("byte", [0x80, 0xE2])
def test_a_long_run_of_broken_bytes_is_let_go_and_costs_linear_work(byte: int) -> None:
    tokenizer = ByteTokenizer()
    detokenizer = Detokenizer(tokenizer)
    out = "".join(detokenizer.push([byte]) for _ in range(2000))
    out += detokenizer.push(tokenizer.encode(" end"))
    assert out == "\ufffd" * 2000 + " end"
    assert tokenizer.num_decoded < 2000 * 400  # all of them anew at each step: 2,000,000


def test_special_tokens_are_skipped_or_shown_as_asked() -> None:
    ids = [*BYTES.encode("a"), BYTES.eos, *BYTES.encode("b")]
    assert Detokenizer(BYTES).push(ids) == "ab"
    assert Detokenizer(BYTES, skip_special=False).push(ids) == "a<eos>b"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(1, 3), max_size=20))
def test_a_decoder_that_strips_the_first_space_does_so_once(ids: list[int], sizes: list[int]) -> None:
    tokenizer = MetaspaceTokenizer()
    detokenizer, out, start = Detokenizer(tokenizer), "", 0
    for size in [*sizes, len(ids)]:
        out += detokenizer.push(ids[start : start + size])
        start += size
    assert out == tokenizer.decode(ids)


@given(st.text(alphabet="abc é😀", min_size=1, max_size=40))
def test_a_real_byte_level_tokenizer_streams_to_the_same_text(text: str) -> None:
    tokenizer = small_bpe()
    detokenizer = Detokenizer(tokenizer)
    assert "".join(detokenizer.push([token]) for token in tokenizer.encode(text)) == text


# Stop strings.

STOPS = st.lists(st.text(alphabet="abé", min_size=1, max_size=4), min_size=1, max_size=4)


def first_stop(text: str, stops: Sequence[str]) -> tuple[str, int, str] | None:
    """The oracle: reads the text character by character; the first stop string to be complete ends it."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            stop = max(ending, key=len)
            return text[: end - len(stop)], end, stop
    return None


@given(st.text(alphabet="abé", max_size=30), STOPS, st.lists(st.integers(0, 4), max_size=30), st.booleans())
def test_stop_strings_are_found_wherever_the_pieces_end(text: str, stops: list[str], sizes: list[int], include: bool) -> None:
    matcher, out, start, stopped = StopMatcher(stops, include), "", 0, None
    for size in [*sizes, len(text)]:
        shown, stopped = matcher.push(text[start : start + size])
        out += shown
        start += size
        expected = first_stop(text, stops)
        if expected is not None and not include:
            assert expected[0].startswith(out), "text that belongs to a stop string was shown"
        if stopped is not None:
            break
    if (expected := first_stop(text, stops)) is None:
        assert stopped is None
        assert out + matcher.flush() == text
    else:
        before, end, stop = expected
        assert stopped == stop
        assert out == (text[:end] if include else before)


@given(st.text(alphabet="abé", max_size=20), STOPS)
def test_no_more_is_held_back_than_could_begin_a_stop_string(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown, stopped = matcher.push(text)
    if stopped is None:
        held = text[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)


@given(TEXTS, STOPS, st.lists(st.integers(1, 6), max_size=40))
def test_what_counts_as_emitted_does_not_depend_on_the_steps(text: str, stops: list[str], sizes: list[int]) -> None:
    ids = BYTES.encode(text)
    plain = generated(ids, stops, [1] * len(ids))
    assert generated(ids, stops, sizes) == plain


def generated(ids: Sequence[int], stops: Sequence[str], sizes: Sequence[int]) -> tuple[str, int, str | None]:
    """Text, emitted tokens and stop string of an answer whose steps emit `sizes` tokens."""
    answer, text, emitted, start = AnswerText(BYTES, stops), "", 0, 0
    for size in [*sizes, max(0, len(ids) - sum(sizes))]:
        step = ids[start : start + size]
        start += size
        piece = answer.push(step, "length" if start >= len(ids) else None)
        assert piece.num_emitted + piece.num_cut == len(step)
        text, emitted = text + piece.text, emitted + piece.num_emitted
        if piece.stop is not None or start >= len(ids):
            return text, emitted, piece.stop
    raise AssertionError("the answer has no end")


def test_a_stop_string_in_the_middle_of_a_step_cuts_the_tokens_after_it() -> None:
    answer = AnswerText(BYTES, ["END"])
    assert answer.push(BYTES.encode("abcE")) == Piece("abc", 4, 0)
    assert answer.push(BYTES.encode("NDxyz")) == Piece("", 2, 3, "END")


def test_text_held_back_is_released_when_the_answer_ends() -> None:
    answer = AnswerText(BYTES, ["END"])
    assert answer.push(BYTES.encode("aEN")).text == "a"
    assert answer.push([], "length").text == "EN"


@pytest.mark.parametrize(("include", "text"), [(False, "ab"), (True, "abc")])
def test_a_stop_token_is_counted_but_shown_only_on_request(include: bool, text: str) -> None:
    assert AnswerText(BYTES, include_stop=include).push(BYTES.encode("abc"), "stop") == Piece(text, 3, 0)


def test_a_stop_string_is_not_completed_by_a_hidden_stop_token() -> None:
    assert AnswerText(BYTES, ["bc"]).push(BYTES.encode("abc"), "stop") == Piece("ab", 3, 0)


def first_beyond(text: str, stops: Sequence[str], min_chars: int) -> tuple[int, int] | None:
    """The oracle: (end, start) of the first stop string that ends beyond `min_chars`, the longest of those that end there."""
    found = [
        (start + len(stop), start) for stop in stops for start in range(len(text)) if text.startswith(stop, start)
    ]
    return min((each for each in found if each[0] > min_chars), default=None)


@given(
    st.text(alphabet="ab", max_size=20),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.integers(0, 12),
    st.lists(st.integers(1, 4), max_size=20),
)
def test_stop_strings_count_once_the_text_has_its_least_length(
    text: str, stops: list[str], min_tokens: int, sizes: list[int]
) -> None:
    answer = AnswerText(BYTES, stops, min_tokens=min_tokens)
    ids, out, num_emitted, end = BYTES.encode(text), "", 0, None
    while ids and end is None:
        size = sizes.pop() if sizes else 1
        step, ids = ids[:size], ids[size:]
        piece = answer.push(step, None if ids else "length")
        out += piece.text
        num_emitted += piece.num_emitted
        end = piece.stop
    expected = first_beyond(text, stops, min_tokens)
    assert out == (text if expected is None else text[: expected[1]])
    assert num_emitted == (len(text) if expected is None else expected[0])
