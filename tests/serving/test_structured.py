"""The fields that constrain an answer: what the engine is asked for them, and what is refused before it hears of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.api.constrain import MAX_CHARS
from serving.link import RequestRefused
from serving.messages import Refused, Request
from serving.scripted import ScriptedEngine
from speculator.constraint.constraint import Constraint
from tests.serving.harness import House, house

SCHEMA = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"enum": ["é", None]}}}
TEXT = '{"type":"object","properties":{"z":{"type":"integer"},"a":{"enum":["é",null]}}}'
PATHS = ("/v1/completions", "/v1/chat/completions")
SOUND = {"prompt": "abc", "messages": [{"role": "user", "content": "hi"}]}


ASKED: list[Request] = []


def script(request: Request) -> bytes:
    ASKED.append(request)
    return b"x"


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    with house(ScriptedEngine(script, eos_id=256)).http() as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "constraint"),
    [
        ({}, None),
        ({"response_format": None, "structured_outputs": None, "guided_json": None}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"structured_outputs": {"json_object": False}}, None),
        ({"response_format": {"type": "json_object"}}, ("json", '{"type":"object"}', "response_format")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}},
            ("json", TEXT, "response_format.json_schema.schema"),
        ),
        ({"structured_outputs": {"json": SCHEMA}}, ("json", TEXT, "structured_outputs.json")),
        ({"structured_outputs": {"json": TEXT}}, ("json", TEXT, "structured_outputs.json")),
        ({"structured_outputs": {"json_object": True}}, ("json", '{"type":"object"}', "structured_outputs.json_object")),
        ({"structured_outputs": {"regex": "a+"}}, ("regex", "a+", "structured_outputs.regex")),
        ({"structured_outputs": {"choice": ["é", "b"]}}, ("choice", '["é","b"]', "structured_outputs.choice")),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, ("grammar", 'start: "a"', "structured_outputs.grammar")),
        ({"guided_json": SCHEMA}, ("json", TEXT, "guided_json")),
        ({"guided_json": TEXT, "response_format": {"type": "text"}}, ("json", TEXT, "guided_json")),
        ({"guided_regex": "a+"}, ("regex", "a+", "guided_regex")),
        ({"guided_choice": ["é"]}, ("choice", '["é"]', "guided_choice")),
        ({"guided_grammar": 'start: "a"'}, ("grammar", 'start: "a"', "guided_grammar")),
    ],
)
def test_the_engine_is_asked_for_what_the_field_says(
    http: TestClient, path: str, body: Any, constraint: tuple[Any, str, str] | None
) -> None:
    response = http.post(path, json={**SOUND, **body})
    assert response.status_code == 200, response.text
    assert ASKED[-1].constraint == (None if constraint is None else Constraint(*constraint))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type", "text, json_object or json_schema, got 'xml'"),
        ({"response_format": {}}, "response_format.type", "required, but missing"),
        ({"response_format": "json"}, "response_format", "an object"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "required with type json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
            "required, but missing",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"uniqueItems": True, "type": "array"}}}},
            "response_format.json_schema.schema",
            "uniqueItems",
        ),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs", "structural_tag"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "at least one text"),
        ({"structured_outputs": {"choice": ["a", 5]}}, "structured_outputs.choice[1]", "a string, got 5"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs.choice", "at most one constraint"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex", "response_format is given too"),
        ({"guided_regex": "a" * (MAX_CHARS + 1)}, "guided_regex", f"at most {MAX_CHARS} characters, got {MAX_CHARS + 1}"),
        ({"guided_regex": "a["}, "guided_regex", "unclosed character class"),
        ({"guided_json": "{"}, "guided_json", ""),
        ({"guided_json": [1]}, "guided_json", "got [1]"),
        ({"guided_grammar": "start: gone"}, "guided_grammar", "gone"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(http: TestClient, path: str, body: Any, field: str, expected: str) -> None:
    response = http.post(path, json={**SOUND, **body})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == field
    assert error["message"].startswith(f"{field}: ")
    assert expected in error["message"]
    assert len(error["message"]) <= 1000


def test_a_refused_request_reaches_neither_the_engine_nor_the_log() -> None:
    subject = house()
    with subject.http() as http:
        assert http.post(PATHS[0], json={**SOUND, "guided_regex": "("}).status_code == 400
    assert subject.log.traces == []
    assert subject.traffic.counters().finished == 0
    assert subject.engine.snapshot().num_steps == 0  # type: ignore[union-attr]


class Failing(ScriptedEngine):
    """Says a few tokens, or none, and then that the grammar is too complex."""

    def __init__(self, num_said: int) -> None:
        super().__init__()
        self._num_said = num_said

    async def submit(self, request: Request) -> Any:
        async for moved in super().submit(request):
            if self._num_said == 0:
                raise RequestRefused(Refused(request.id, "constraint", "guided_regex: too complex"))
            self._num_said -= 1
            yield moved


def failed(num_said: int, **body: Any) -> tuple[House, Any]:
    subject = house(Failing(num_said))
    with subject.http() as http:
        return subject, http.post(PATHS[0], json={**SOUND, "guided_regex": "a+", "max_tokens": 30, **body})


@pytest.mark.parametrize(("num_said", "num_traces"), [(0, 0), (2, 1)])
def test_a_grammar_that_fails_in_the_engine_is_the_requests_error_and_is_accounted_for(num_said: int, num_traces: int) -> None:
    subject, response = failed(num_said)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["message"]) == ("guided_regex", "guided_regex: too complex")
    assert [trace.finish_reason for trace in subject.log.traces] == ["abort"] * num_traces
    assert subject.traffic.counters().balanced


def test_in_a_stream_that_failure_is_its_last_event() -> None:
    _, response = failed(2, stream=True)
    assert response.status_code == 200
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["error"]["message"] == "guided_regex: too complex"
    assert sum("choices" in event for event in events) == 2


def test_traces_say_that_an_answer_was_constrained() -> None:
    subject = house()
    with subject.http() as http:
        for body in ({}, {"guided_regex": ".*"}):
            assert http.post(PATHS[0], json={**SOUND, **body}).status_code == 200
    assert [trace.sampling.constrained for trace in subject.log.traces] == [False, True]
