"""What is wrong with a request is said in OpenAI's shape, naming the field; what is harmless is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serving.harness import CONTEXT, house
from tests.serving.tokenizers import ByteTokenizer

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
USER = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def http() -> TestClient:
    return house(max_body_bytes=20_000, max_prompts=3).http()


def refused(http: TestClient, path: str, body: Any, status: int = 400) -> dict[str, Any]:
    """The error that `body` (bytes, or something to be written as JSON) gets."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert 0 < len(error["message"]) <= 1000
    return error


WRONG = [
    ("temperature", -0.1, ">= 0"),
    ("temperature", 2.1, "<= 2"),
    ("temperature", "0.5", "a number"),
    ("temperature", True, "a number"),
    ("temperature", [1], "a number"),
    ("top_p", 0, "> 0"),
    ("top_p", 1.01, "<= 1"),
    ("top_k", -2, ">= -1"),
    ("top_k", 1.5, "an integer"),
    ("top_k", 2**40, "<= "),
    ("min_p", -1, ">= 0"),
    ("min_p", 2, "<= 1"),
    ("n", 0, ">= 1"),
    ("n", 129, "<= 128"),
    ("n", True, "an integer"),
    ("repetition_penalty", 0, ">= 0.01"),
    ("repetition_penalty", 101, "<= 100"),
    ("presence_penalty", 2.5, "<= 2"),
    ("frequency_penalty", -3, ">= -2"),
    ("frequency_penalty", "1", "a number"),
    ("logit_bias", {"5": 101}, "<= 100"),
    ("logit_bias", {"5": "x"}, "a number"),
    ("logit_bias", {"x": 1}, "a token id"),
    ("logit_bias", {"\u0665": 1}, "a token id"),
    ("logit_bias", {"260": 1}, "0 to 259"),
    ("logit_bias", [5], "an object"),
    ("allowed_token_ids", [], "a token that does not end"),
    ("allowed_token_ids", 5, "an array"),
    ("min_tokens", -1, ">= 0"),
    ("min_tokens", 10**6, "at most max_tokens"),
    ("prompt_logprobs", 21, "<= 20"),
    ("prompt_logprobs", -1, ">= 0"),
    ("max_tokens", 0, ">= 1"),
    ("max_tokens", -5, ">= "),
    ("max_tokens", True, "an integer"),
    ("max_tokens", "5", "an integer"),
    ("max_tokens", 10**30, "<= "),
    ("seed", 2**63, "<= "),
    ("seed", 1.5, "an integer"),
    ("stop", 5, "a string"),
    ("stop", "", "1 to "),
    ("stop", "x" * 2000, "1 to "),
    ("stop", ["x"] * 100, "at most 64"),
    ("stream", "yes", "true or false"),
    ("stream_options", {"include_usage": True}, "stream"),
    ("ignore_eos", 1, "true or false"),
    ("metadata", [], "an object"),
    ("metadata", {"domain": "x" * 600}, "at most 512"),
    ("metadata", {"domain": 5}, "a string"),
    ("user", 5, "a string"),
    ("store", "no", "true or false"),
    ("speculative", 0, "true or false"),
]


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize(("field", "value", "expected"), WRONG)
def test_a_wrong_value_is_refused_by_name(http: TestClient, path: str, field: str, value: Any, expected: str) -> None:
    error = refused(http, path, {"prompt": "x", "messages": [USER], field: value})
    assert error["param"] == field
    assert field in error["message"]
    assert expected in error["message"]


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ("", "prompt"),
        ([], "prompt"),
        ([[]], "prompt[0]"),
        (["a", ""], "prompt[1]"),
        (5, "prompt"),
        ({"a": 1}, "prompt"),
        ([1.5], "prompt[0]"),
        ([True], "prompt[0]"),
        ([1, "a"], "prompt"),
        ([[1], 1], "prompt"),
        ([65, -1], "prompt[1]"),
        ([65, ByteTokenizer.vocab_size], "prompt[1]"),
        ([[65], [66, 10**9]], "prompt[1][1]"),
        ([[65], [66, "x"]], "prompt[1][1]"),
        (["a"] * 4, "prompt"),
        ("x" * CONTEXT, "prompt"),
        ([65] * CONTEXT, "prompt"),
        (None, "prompt"),
    ],
)
def test_a_wrong_prompt_is_refused_by_name(http: TestClient, prompt: Any, param: str) -> None:
    assert refused(http, COMPLETIONS, {"prompt": prompt})["param"] == param


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hi", "messages"),
        ([USER, "hi"], "messages[1]"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"content": "hi"}], "messages[0].role"),
        ([USER, {"role": "tool", "content": "x"}], "messages[1].role"),
        ([{"role": 5, "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": "x" * CONTEXT}], "messages"),
    ],
)
def test_wrong_messages_are_refused_by_name(http: TestClient, messages: Any, param: str) -> None:
    assert refused(http, CHAT, {"messages": messages})["param"] == param


def test_a_missing_field_is_named(http: TestClient) -> None:
    assert refused(http, COMPLETIONS, {})["param"] == "prompt"
    assert refused(http, CHAT, {})["param"] == "messages"


def test_an_answer_that_cannot_fit_is_refused_in_words_that_clients_know(http: TestClient) -> None:
    words = f"This model's maximum context length is {CONTEXT} tokens. However, "
    error = refused(http, COMPLETIONS, {"prompt": "abc", "max_tokens": CONTEXT - 2})
    assert error["param"] == "max_tokens"
    assert error["message"].startswith(words)
    body = {"messages": [USER], "max_tokens": 1, "max_completion_tokens": CONTEXT}
    error = refused(http, CHAT, body)
    assert error["param"] == "max_completion_tokens"
    assert error["message"].startswith(words)
    fits = http.post(COMPLETIONS, json={"prompt": "abc", "max_tokens": CONTEXT - 3, "temperature": 0})
    assert fits.json()["usage"]["total_tokens"] <= CONTEXT


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (b"", None, "JSON"),
        (b"{", None, "JSON"),
        (b"hello", None, "JSON"),
        (b"[]", None, "object"),
        (b"null", None, "object"),
        (b'{"prompt": "x"} x', None, "JSON"),
        (b"[" * 5000, None, "nested"),
        (b'{"a":' * 3000 + b"NaN" + b"}" * 3000, None, "nested"),
        (b'{"prompt": "x", "temperature": NaN}', "temperature", "finite"),
        (b'{"prompt": "x", "top_p": Infinity}', "top_p", "finite"),
        (b'{"prompt": "x", "min_p": 1e400}', "min_p", "finite"),
        (b'{"prompt": "x", "seed": 1' + b"0" * 5000 + b"}", "seed", "finite"),
        (b'{"prompt": "a\xff"}', "prompt", "UTF-8"),
        (b'{"messages": [{"role": "user", "content": "\xc3("}]}', "messages[0].content", "UTF-8"),
        (b'{"prompt": "\\ud800"}', "prompt", "UTF-8"),
        (b'{"model": "\\udfff"}', "model", "UTF-8"),
        (b'{"\xff": 1}', None, "UTF-8"),
    ],
)
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_a_body_that_is_no_sound_json_is_refused(http: TestClient, path: str, body: bytes, param: str | None, says: str) -> None:
    error = refused(http, path, body)
    assert error["param"] == param
    assert says in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        (COMPLETIONS, {"logprobs": 21}, "logprobs", "<= 20"),
        (COMPLETIONS, {"logprobs": True}, "logprobs", "an integer"),
        (CHAT, {"logprobs": 1}, "logprobs", "true or false"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "<= 20"),
        (CHAT, {"top_logprobs": 3}, "top_logprobs", "logprobs: true"),
        (COMPLETIONS, {"max_tokens": -1, "echo": True}, "max_tokens", ">= 0"),
        (COMPLETIONS, {"n": 2, "best_of": 3}, "best_of", "not supported"),
        (COMPLETIONS, {"min_tokens": 17}, "min_tokens", "at most max_tokens, 16"),
        (COMPLETIONS, {"min_tokens": 5, "max_tokens": 4}, "min_tokens", "at most max_tokens, 4"),
        (COMPLETIONS, {"min_tokens": 1, "allowed_token_ids": [ByteTokenizer.eos]}, "allowed_token_ids", "does not end"),
        (COMPLETIONS, {"allowed_token_ids": [5, 260]}, "allowed_token_ids[1]", "0 to 259"),
        (COMPLETIONS, {"prompt_logprobs": 1, "stream": True}, "prompt_logprobs", "stream"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    http: TestClient, path: str, body: dict[str, Any], param: str, says: str
) -> None:
    error = refused(http, path, {"prompt": "x", "messages": [USER], **body})
    assert error["param"] == param
    assert says in error["message"]


def test_more_choices_than_run_at_once_are_refused_for_good() -> None:
    error = refused(house(max_in_flight=4).http(), COMPLETIONS, {"prompt": "x", "n": 5})
    assert error["param"] == "n"


def test_a_body_of_another_type_is_refused(http: TestClient) -> None:
    response = http.post(COMPLETIONS, content=b'{"prompt": "x"}', headers={"content-type": "text/plain"})
    assert response.status_code == 400
    assert "application/json" in response.json()["error"]["message"]


def test_a_body_beyond_the_limit_is_refused_declared_or_not(http: TestClient) -> None:
    refused(http, COMPLETIONS, b" " * 20_001, status=413)

    def parts() -> Any:
        yield from [b" " * 15_000] * 2

    headers = {"content-type": "application/json"}
    response = http.post(COMPLETIONS, content=parts(), headers=headers)
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "RequestEntityTooLargeError"


def test_an_error_does_not_return_what_was_sent_at_length(http: TestClient) -> None:
    error = refused(http, COMPLETIONS, {"prompt": "x", "temperature": "9" * 15_000})
    assert len(error["message"]) < 200
    refused(http, COMPLETIONS, {"prompt": "x", "model": "m" * 15_000}, status=404)
    error = refused(http, COMPLETIONS, b'{"' + b"n" * 15_000 + b'": NaN}')
    assert len(error["param"]) <= 200


UNSUPPORTED: list[tuple[str, Any]] = [
    ("best_of", 2),
    ("truncate_prompt_tokens", 5),
    ("guided_json_object", True),
    ("structural_tag", "x"),
    ("use_beam_search", True),
]
OF_COMPLETIONS: list[tuple[str, Any]] = [("suffix", "x"), ("add_special_tokens", False)]
OF_CHAT: list[tuple[str, Any]] = [
    ("echo", True),
    ("tools", [{"type": "function"}]),
    ("tool_choice", "auto"),
    ("functions", [{}]),
    ("function_call", {"name": "f"}),
    ("modalities", ["text", "audio"]),
    ("reasoning_effort", "high"),
    ("chat_template_kwargs", {"enable_thinking": True}),
    ("add_generation_prompt", False),
    ("continue_final_message", True),
]


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [(path, *case) for path in (COMPLETIONS, CHAT) for case in UNSUPPORTED]
    + [(COMPLETIONS, *case) for case in OF_COMPLETIONS]
    + [(CHAT, *case) for case in OF_CHAT],
)
def test_what_would_change_the_output_is_refused_rather_than_ignored(http: TestClient, path: str, field: str, value: Any) -> None:
    error = refused(http, path, {"prompt": "x", "messages": [USER], field: value})
    assert error["param"] == field
    assert "not supported" in error["message"]


NEUTRAL: dict[str, Any] = {
    "n": 2,
    "best_of": 2,
    "echo": False,
    "logit_bias": {},
    "presence_penalty": 0.0,
    "frequency_penalty": 0,
    "repetition_penalty": 1.0,
    "min_tokens": 0,
    "logprobs": None,
    "allowed_token_ids": [7],
    "prompt_logprobs": None,
    "response_format": {"type": "text"},
    "suffix": "",
    "tools": [],
    "tool_choice": "none",
    "top_logprobs": 0,
    "parallel_tool_calls": True,
    "service_tier": "auto",
    "some_field_of_the_future": {"a": [1]},
    "temperature": None,
    "max_tokens": None,
    "top_p": 1,
    "top_k": -1,
    "min_p": 0,
    "seed": -(2**63),
    "stop": [],
    "stop_token_ids": [],
    "stream": False,
    "stream_options": {"include_usage": False},
    "user": "u",
    "store": True,
    "metadata": {"domain": "sql"},
    "model": "",
}


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
def test_neutral_values_and_unknown_fields_are_taken(http: TestClient, path: str) -> None:
    neutral = NEUTRAL if path == CHAT else {**NEUTRAL, "tool_choice": "auto"}
    response = http.post(path, json={"prompt": "x", "messages": [USER], **neutral})
    assert response.status_code == 200, response.text


def test_content_may_come_in_parts_and_a_conversation_in_turns(http: TestClient) -> None:
    def answer(messages: list[Any]) -> Any:
        body = {"messages": messages, "temperature": 0, "return_token_ids": True}
        return http.post(CHAT, json=body).json()["prompt_token_ids"]

    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    turns = [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "c"},
        USER,
    ]
    plain = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c"},
        USER,
    ]
    assert answer(turns) == ByteTokenizer().apply_chat_template(plain)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/models/other/model", 404),
        ("GET", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_unknown_routes_and_methods_are_refused_in_the_same_shape(http: TestClient, method: str, path: str, status: int) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == status
    if status == 405:
        assert response.headers["allow"]


def test_the_document_describes_bodies_and_errors(http: TestClient) -> None:
    document = http.get("/openapi.json").json()
    operation = document["paths"][CHAT]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ChatBody"}
    assert {"200", "400", "401", "404", "413", "429", "500", "503"} <= set(operation["responses"])
    schemas = document["components"]["schemas"]
    references = {text.split('"')[0] for text in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
