"""Constrained answers as a client of the official library gets them: HTTP, the engine in its process, the bundled target."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jsonschema
import openai
import pytest

from models.source import bundled_target
from models.tokenizer_files import load_tokenizer
from serving.api.app import create_app
from serving.api.server import ApiServer, listen, url_of
from serving.api.settings import ApiSettings
from serving.engine_process import EngineProcess
from serving.settings import EngineSettings
from serving.traffic import TenantPolicy, TrafficRecorder
from tests.serving.harness import MemoryLog

pytestmark = pytest.mark.slow

MODEL = "bundled"
HELLO = [{"role": "user", "content": "Tom has 3 boxes with 4 apples each. Answer as JSON."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "grade_of_the_apples": {"enum": ["fresh", "naïve", "東京 👍"]},
        "counts": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 500}, "minItems": 1, "maxItems": 4},
        "box": {
            "type": "object",
            "properties": {"weight": {"type": "number", "minimum": 0, "maximum": 9}, "sold": {"type": ["boolean", "null"]}},
            "required": ["weight", "sold"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "grade_of_the_apples", "counts", "box"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "apples", "strict": True, "schema": SCHEMA}}


class Server:
    """One server on loopback, all its parts real."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        tokenizer = load_tokenizer(str(bundled_target()))
        self.traffic = TrafficRecorder(self.log, TenantPolicy(), "target", tokenizer.fingerprint)
        self.tokenizer = tokenizer
        self.client: Any = None

    async def serve(self, ready: threading.Event) -> None:
        settings = EngineSettings(target=str(bundled_target()), threads=1, max_cached_tokens=4096)
        engine = EngineProcess(settings)
        await engine.start()
        bound = listen("127.0.0.1", 0)
        app = create_app(engine, self.tokenizer, ApiSettings(model=MODEL, max_model_len=512), self.traffic, None)
        self.server = ApiServer(app, drain_seconds=5, on_listening=ready.set)
        self.client = openai.OpenAI(base_url=f"{url_of(bound)}/v1", api_key="none", max_retries=0)
        try:
            await self.server.serve(sockets=[bound])
        finally:
            await engine.stop(5)


@contextmanager
def running() -> Iterator[Server]:
    subject, ready = Server(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(subject.serve(ready)))
    thread.start()
    assert ready.wait(120)
    try:
        yield subject
    finally:
        subject.client.close()
        subject.server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as subject:
        yield subject


def ask(server: Server, **wanted: Any) -> Any:
    values = {"model": MODEL, "messages": HELLO, "max_tokens": 160, "temperature": 0, "seed": 3, **wanted}
    return server.client.chat.completions.create(**values).choices[0]


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_a_json_schema_is_kept(server: Server, temperature: float) -> None:
    for seed in range(3):
        choice = ask(server, response_format=FORMAT, temperature=temperature, seed=seed)
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)


def test_speculation_does_not_change_what_is_said_and_pays(server: Server) -> None:
    for temperature in (0, 0.9):
        extra = {"return_token_ids": True, "speculative_metrics": True}
        wanted = {"response_format": FORMAT, "temperature": temperature}
        plain = ask(server, **wanted, extra_body={**extra, "speculative": False})
        for _ in range(2):  # the second time the suffix tree knows the answer
            drafted = ask(server, **wanted, extra_body=extra)
            assert drafted.model_extra["token_ids"] == plain.model_extra["token_ids"]


def test_a_json_object_is_one(server: Server) -> None:
    choice = ask(server, response_format={"type": "json_object"}, max_tokens=300)
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)
    assert choice.message.content.startswith("{")


@pytest.mark.parametrize("expression", [r"[A-Z][a-z]{2,9}( [a-z]{1,9}){1,4}\.", "(東京|é{1,4}){1,3}-[0-9]{3}"])
def test_a_regular_expression_is_matched_to_the_end(server: Server, expression: str) -> None:
    for temperature in (0, 1.2):
        choice = ask(server, temperature=temperature, extra_body={"structured_outputs": {"regex": expression}})
        assert choice.finish_reason == "stop"
        assert re.fullmatch(expression, choice.message.content)


def test_one_of_the_choices_is_said(server: Server) -> None:
    choices = ["yes", "no", "perhaps, 👍"]
    said = {ask(server, temperature=1.9, seed=seed, extra_body={"guided_choice": choices}).message.content for seed in range(12)}
    assert said <= set(choices)
    assert len(said) > 1


def test_streams_and_completions_are_constrained_too(server: Server) -> None:
    chunks = server.client.completions.create(
        model=MODEL, prompt="Once", stream=True, max_tokens=60, extra_body={"guided_regex": "(ab|c){3,5}!"}
    )
    assert re.fullmatch("(ab|c){3,5}!", "".join(chunk.choices[0].text for chunk in chunks))


def test_what_the_engine_alone_can_refuse_is_the_requests_error_and_nothing_is_lost(server: Server) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(server, extra_body={"guided_grammar": "start: <|nobody|>"})
    assert refused.value.param == "guided_grammar"
    with pytest.raises(openai.BadRequestError) as refused:
        ask(server, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}})
    assert refused.value.param == "response_format.json_schema.schema"
    hostile = "\n".join(["start: r0", *(f"r{i}: r{i + 1}" for i in range(5000)), 'r5000: "a"'])  # overflows the library's stack
    with pytest.raises(openai.BadRequestError, match="too complex"):
        ask(server, extra_body={"guided_grammar": hostile})
    assert ask(server, max_tokens=5).message.content
    assert server.traffic.counters().balanced
    assert any(trace.sampling.constrained for trace in server.log.traces)
