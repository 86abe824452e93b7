"""Traces survive the wire, and what is not a trace is refused by the name of the field."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import BadTrace
from pipelines.trace import (
    Edits,
    SamplingRecord,
    SourceRecord,
    StepRecord,
    Trace,
    decode_trace,
    encode_trace,
)
from tests.pipelines.records import make_trace

COUNTS = st.integers(0, 2**31)
IDS = st.lists(COUNTS, max_size=8).map(tuple)
NUMBERS = st.floats(allow_nan=False)
SOURCES = st.builds(SourceRecord, source=st.text(), version=st.text(), proposed=IDS, reached=IDS, accepted=IDS)
STEPS = st.builds(
    StepRecord,
    start=COUNTS,
    emitted=COUNTS,
    batch_size=COUNTS,
    nodes=COUNTS,
    sources=st.lists(SOURCES, max_size=3).map(tuple),
)
EDITS = st.builds(
    Edits,
    repetition_penalty=NUMBERS,
    presence_penalty=NUMBERS,
    frequency_penalty=NUMBERS,
    logit_bias=st.lists(st.tuples(COUNTS, NUMBERS), max_size=3).map(tuple),
    min_tokens=COUNTS,
    allowed_token_ids=IDS,
)
SAMPLINGS = st.builds(
    SamplingRecord,
    temperature=NUMBERS,
    top_p=NUMBERS,
    top_k=COUNTS,
    min_p=NUMBERS,
    seed=st.integers(-(2**63), 2**63 - 1),
    max_tokens=COUNTS,
    stop_ids=IDS,
    edits=EDITS,
)
TRACES = st.builds(
    Trace,
    schema=st.sampled_from([1, 2]),
    trace_id=st.text(),
    tenant=st.text(),
    conversation=st.text(),
    consent=st.sampled_from(["tenant", "shared"]),
    expires_at=st.none() | NUMBERS,
    started_at=NUMBERS,
    finished_at=NUMBERS,
    target=st.text(),
    tokenizer=st.text(),
    prompt_ids=IDS,
    output_ids=IDS,
    num_cut=st.just(0),
    finish_reason=st.sampled_from(["stop", "length", "abort"]),
    sampling=SAMPLINGS,
    steps=st.lists(STEPS, max_size=4).map(tuple),
    domain=st.none() | st.text(),
)


def altered(**fields: Any) -> bytes:
    content = msgspec.msgpack.decode(encode_trace(make_trace()))
    return msgspec.msgpack.encode(content | fields)


@given(TRACES)
def test_a_trace_decodes_to_what_was_encoded(trace: Trace) -> None:
    assert decode_trace(encode_trace(trace)) == trace


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("schema", 3, "schema is 3, expected 1 or 2"),
        ("num_cut", 3, "num_cut is 3, expected 0 to 2"),
        ("num_cut", -1, "num_cut is -1, expected 0 to 2"),
        ("finish_reason", "bored", r"'bored' - at `\$.finish_reason`"),
        ("consent", "nobody", r"'nobody' - at `\$.consent`"),
        ("prompt_ids", [1, "two"], r"Expected `int`, got `str` - at `\$.prompt_ids\[1\]`"),
        ("sampling", {}, r"missing required field `temperature` - at `\$.sampling`"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, complaint: str) -> None:
    with pytest.raises(BadTrace, match=complaint):
        decode_trace(altered(**{field: value}))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadTrace, match="trace_id"):
        decode_trace(msgspec.msgpack.encode({"schema": 1}))


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    assert decode_trace(altered(colour="blue")) == make_trace()


def test_records_from_before_there_were_edits_are_read() -> None:
    sampling = {"temperature": 0.8, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 7, "max_tokens": 16}
    assert decode_trace(altered(sampling=sampling)) == make_trace()


def test_edits_that_change_nothing_take_no_room() -> None:
    assert msgspec.msgpack.encode(Edits()) == b"\x80"


@given(st.binary(max_size=200))
def test_bytes_that_are_no_trace_are_refused(data: bytes) -> None:
    with pytest.raises(BadTrace):
        decode_trace(data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_trace_is_refused_or_still_a_trace(position: int, byte: int) -> None:
    data = bytearray(encode_trace(make_trace()))
    data[position % len(data)] = byte
    with contextlib.suppress(BadTrace):
        assert isinstance(decode_trace(bytes(data)), Trace)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(BadTrace):
        decode_trace(b"\x81\xa6colour" + b"\x91" * 100_000)


def test_mean_acceptance_length_counts_the_bonus_token() -> None:
    steps = tuple(StepRecord(start=0, emitted=emitted, batch_size=1, nodes=4) for emitted in (1, 4))
    assert make_trace(steps=steps).mean_acceptance_length == 2.5
    assert make_trace().mean_acceptance_length is None
