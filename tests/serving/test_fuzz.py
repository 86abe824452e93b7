"""Whatever is sent, the answer is OpenAI-shaped, never a fault of the server, and the server lives."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.api.refusals import CHAT, COMPLETION
from serving.api.schemas import ChatBody, CompletionBody
from tests.serving.harness import MODEL, House, house
from tests.serving.tokenizers import ByteTokenizer

FIELDS = sorted({*CompletionBody.__struct_fields__, *ChatBody.__struct_fields__, *CHAT, *COMPLETION})

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 1, 2, 2**31, 2**63, -(2**63), 10**400]),
    st.floats(),
    st.text(max_size=8),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=3),
    st.sampled_from([MODEL, "user", "text", "none", "auto"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
TOKENS = st.lists(st.integers(0, ByteTokenizer.vocab_size - 1), min_size=1, max_size=5)
PROMPTS = st.one_of(st.text(min_size=1, max_size=8), TOKENS, st.lists(TOKENS, min_size=1, max_size=3))
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=8)}),
    min_size=1,
    max_size=3,
)
SOUND = st.fixed_dictionaries(
    {"prompt": PROMPTS, "messages": MESSAGES},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0.01, 1),
        "top_k": st.integers(-1, 300),
        "min_p": st.floats(0, 1),
        "max_tokens": st.integers(1, 40),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "stop": st.lists(st.text(min_size=1, max_size=3), max_size=3),
        "n": st.integers(1, 3),
        "repetition_penalty": st.floats(0.01, 100),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "logit_bias": st.dictionaries(st.integers(0, ByteTokenizer.vocab_size - 1).map(str), st.floats(-100, 100), max_size=3),
        "allowed_token_ids": st.lists(st.integers(0, ByteTokenizer.vocab_size - 1), min_size=9, unique=True),
        "min_tokens": st.integers(0, 1),
        "ignore_eos": st.booleans(),
        "stream": st.booleans(),
        "speculative": st.booleans(),
        "speculative_metrics": st.booleans(),
        "return_token_ids": st.booleans(),
        "store": st.booleans(),
    },
)
PATHS = st.sampled_from(["/v1/completions", "/v1/chat/completions"])
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def subject() -> House:
    return house()


@pytest.fixture(scope="module")
def http(subject: House) -> TestClient:
    return subject.http()


def send(http: TestClient, path: str, body: bytes) -> Any:
    response = http.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert len(error["message"]) <= 1000
    return response


@QUICK
@given(PATHS, st.binary(max_size=60))
def test_any_bytes_are_answered(http: TestClient, path: str, body: bytes) -> None:
    send(http, path, body)


@QUICK
@given(PATHS, VALUES)
def test_any_json_is_answered(http: TestClient, path: str, body: Any) -> None:
    send(http, path, json.dumps(body).encode())


@settings(QUICK, max_examples=400)
@given(PATHS, SOUND, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2))
def test_a_sound_request_with_anything_in_two_fields_is_answered(
    http: TestClient, path: str, sound: dict[str, Any], wild: dict[str, Any]
) -> None:
    body = {**sound, **wild}
    if isinstance(body.get("max_tokens"), int):
        body["max_tokens"] = min(body["max_tokens"], 10**6)
    response = send(http, path, json.dumps(body).encode())
    param = response.json()["error"]["param"] if response.status_code == 400 else None
    if param is not None:
        name = param.partition(".")[0].partition("[")[0]
        assert name in wild, f"{name} was sound, and yet: {response.text}"


@QUICK
@given(PATHS, SOUND)
def test_every_sound_request_succeeds_and_streams_to_the_same_answer(http: TestClient, path: str, sound: dict[str, Any]) -> None:
    sound = {"seed": 1, "max_tokens": 16, **sound}
    whole = send(http, path, json.dumps({**sound, "stream": False}).encode())
    assert whole.status_code == 200, whole.text
    streamed = send(http, path, json.dumps({**sound, "stream": True}).encode())
    choices = whole.json()["choices"]
    texts = [""] * len(choices)
    reasons: list[Any] = [None] * len(choices)
    for line in streamed.text.split("\n\n")[:-2]:
        (choice,) = json.loads(line.removeprefix("data: "))["choices"]
        texts[choice["index"]] += choice["text"] if "text" in choice else choice["delta"].get("content", "")
        reasons[choice["index"]] = choice["finish_reason"], choice["stop_reason"]
    assert texts == [each["text"] if "text" in each else each["message"]["content"] for each in choices]
    assert reasons == [(each["finish_reason"], each["stop_reason"]) for each in choices]


def test_after_all_that_the_server_is_as_it_was(subject: House, http: TestClient) -> None:
    assert http.get("/health").status_code == 200
    assert subject.num_active == 0
    assert subject.traffic.counters().balanced
    assert math.isfinite(subject.traffic.counters().finished)
