"""What surrounds a request: keys, ids, origins, health, limits and faults."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from models.errors import BadMessages, BadText
from serving.api.app import create_app
from serving.api.auth import Keys
from serving.api.errors import Unauthorized
from serving.api.metrics import Metrics
from serving.api.outermost import OutermostMiddleware
from serving.api.settings import ApiSettings
from serving.link import EngineLink
from serving.messages import Snapshot
from serving.scripted import ScriptedEngine
from tests.serving.harness import CONTEXT, MODEL, house
from tests.serving.tokenizers import ByteTokenizer

ASK = {"prompt": "abc", "max_tokens": 4}


# Keys.


def test_without_keys_everyone_is_the_default_tenant() -> None:
    assert Keys({}).tenant(None) == "default"
    assert Keys({}).tenant("Bearer whatever") == "default"


@pytest.mark.parametrize("header", ["Bearer k1", "bearer k1", "Bearer  k1 "])
def test_a_known_key_is_its_tenant(header: str) -> None:
    assert Keys({"k0": "a", "k1": "b"}).tenant(header) == "b"


@pytest.mark.parametrize("header", [None, "", "k1", "Bearer", "Bearer ", "Basic k1", "Bearer k", "Bearer k1k"])
def test_anything_else_is_nobody(header: str | None) -> None:
    with pytest.raises(Unauthorized):
        Keys({"k1": "b"}).tenant(header)


def test_a_key_may_be_any_text() -> None:
    # servers hand header bytes on as latin-1
    assert Keys({"schlüssel": "b"}).tenant("Bearer schlüssel".encode().decode("latin-1")) == "b"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/v1", "/v1/nothing"])
def test_keys_guard_everything_under_v1_and_errors_say_how(path: str) -> None:
    http = house(keys={"k": "t"}).http()
    response = http.get(path)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "AuthenticationError"
    assert response.headers["www-authenticate"] == "Bearer"
    assert http.get(path, headers={"authorization": "Bearer k"}).status_code != 401


def test_asking_what_a_route_takes_needs_no_key() -> None:
    response = house(keys={"k": "t"}).http().options("/v1/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/metrics"])
def test_operators_need_no_key(path: str) -> None:
    http = house(keys={"k": "t"}).http()
    assert http.get(path).status_code == 200
    assert http.head(path).status_code == 200


def test_settings_do_not_show_keys_and_name_what_is_wrong() -> None:
    assert "sk-secret" not in repr(ApiSettings(model="m", max_model_len=8, keys={"sk-secret": "t"}))
    with pytest.raises(ValueError, match="max_model_len is 1, expected at least 2"):
        ApiSettings(model="m", max_model_len=1)
    with pytest.raises(ValueError, match="max_in_flight is 0"):
        ApiSettings(model="m", max_model_len=8, max_in_flight=0)
    with pytest.raises(ValueError, match="model is empty"):
        ApiSettings(model="", max_model_len=8)
    with pytest.raises(ValueError, match="keys names tenant ''"):
        ApiSettings(model="m", max_model_len=8, keys={"k": ""})


# Ids and origins.


def test_a_request_id_comes_back_and_an_unsound_one_is_replaced() -> None:
    http = house().http()
    assert http.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert http.post("/v1/completions", headers={"x-request-id": "e"}).headers["x-request-id"] == "e"
    for bad in ("x" * 200, "a b"):
        replaced = http.get("/health", headers={"x-request-id": bad}).headers["x-request-id"]
        assert replaced != bad
        assert len(replaced) == 32


def test_origins_are_allowed_only_as_configured() -> None:
    ask = {"origin": "https://a.example", "access-control-request-method": "POST"}
    closed = house().http().post("/v1/completions", json=ASK, headers={"origin": "https://a.example"})
    assert "access-control-allow-origin" not in closed.headers
    http = house(cors_origins=("https://a.example",), keys={"k": "t"}).http()
    preflight = http.options("/v1/completions", headers=ask)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://a.example"
    refused = http.post("/v1/completions", json=ASK, headers={"origin": "https://a.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    other = http.options("/v1/completions", headers={**ask, "origin": "https://b.example"})
    assert "access-control-allow-origin" not in other.headers


# Health.


class Starting(ScriptedEngine):
    """Alive, and not ready yet."""

    def snapshot(self) -> Snapshot | None:
        return None


def test_health_is_alive_and_ready_is_able_to_serve() -> None:
    http = house(Starting()).http()
    assert http.get("/health").status_code == 200
    not_ready = http.get("/ready")
    assert not_ready.status_code == 503
    assert not_ready.headers["retry-after"] == "1"
    assert http.get("/metrics").status_code == 200

    subject = house(version="1.2.3")
    ready = subject.http().get("/ready").json()
    assert (ready["model"], ready["versions"], ready["generation"]) == (MODEL, {"scripted": "v0"}, 0)
    assert subject.http().get("/version").json() == {"version": "1.2.3"}
    subject.engine.die("x")
    assert subject.http().get("/health").status_code == 503
    assert subject.http().get("/ready").status_code == 503
    assert subject.http().get("/health").json()["error"]["type"] == "ServiceUnavailableError"


def test_the_fingerprint_names_the_versions_in_service() -> None:
    subject = house()
    http = subject.http()
    before = http.post("/v1/completions", json=ASK).json()["system_fingerprint"]
    subject.engine.swap("0123456789abcdef")
    after = http.post("/v1/completions", json=ASK).json()["system_fingerprint"]
    assert before == "g0-scripted@v0"
    assert after == "g1-scripted@0123456789ab"


# Limits and faults.


def test_more_answers_than_the_limit_are_told_to_come_back() -> None:
    http = house(max_in_flight=2, retry_after=7).http()
    response = http.post("/v1/completions", json={**ASK, "prompt": ["a", "b", "c"]})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["type"] == "RateLimitError"
    for _ in range(3):  # room is given back
        assert http.post("/v1/completions", json={**ASK, "prompt": ["a", "b"]}).status_code == 200
        assert http.post("/v1/completions", json={**ASK, "stream": True}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_refuses_has_a_status_of_its_own(stream: bool) -> None:
    engine = ScriptedEngine(max_total=20)
    http = house(engine).http()
    ask = {**ASK, "stream": stream}
    large = http.post("/v1/completions", json={**ask, "max_tokens": 100})
    assert (large.status_code, large.json()["error"]["param"]) == (400, "max_tokens")
    full = house(ScriptedEngine(max_waiting=0)).http().post("/v1/completions", json=ask)
    assert (full.status_code, full.headers["retry-after"]) == (429, "1")
    engine.drain()
    draining = http.post("/v1/completions", json=ask)
    assert (draining.status_code, draining.headers["retry-after"]) == (503, "1")
    engine.die("x")
    assert http.post("/v1/completions", json=ask).status_code == 503


@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_of_ours_is_a_500_that_tells_nothing_and_a_line_in_the_log(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def script(request: Any) -> bytes:
        raise RuntimeError("secret path /home/x")

    http = house(ScriptedEngine(script)).http()
    with caplog.at_level(logging.ERROR):
        response = http.post("/v1/completions", json={**ASK, "stream": stream}, headers={"x-request-id": "r1"})
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("InternalServerError", 500)
    assert "secret" not in response.text
    assert "r1" in caplog.text
    assert "secret path" in caplog.text
    assert http.get("/health").status_code == 200


def test_a_response_that_fails_half_way_is_broken_off_and_not_begun_anew() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def receive() -> Message:
        raise AssertionError

    asyncio.run(OutermostMiddleware(fails, Metrics(MODEL))({"type": "http", "headers": []}, receive, send))
    assert sent == ["http.response.start"]


def test_a_default_answer_fills_the_context_and_no_more() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "ignore_eos": True}
    answer = house().http().post("/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == CONTEXT
    near_the_end = house().http().post("/v1/completions", json={"prompt": "x" * (CONTEXT - 3), "ignore_eos": True})
    assert near_the_end.json()["usage"]["total_tokens"] == CONTEXT


class Choosy(ByteTokenizer):
    """Refuses what it is given, as a chat template may."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        raise BadText("character 3 is odd")

    def apply_chat_template(self, messages: list[dict[str, str]]) -> list[int]:
        raise BadMessages("messages: roles must alternate")


@pytest.mark.parametrize("size", [5, 50_000])
def test_what_the_tokenizer_refuses_is_the_clients_to_mend(size: int) -> None:
    subject = house()
    http = TestClient(create_app(subject.engine, Choosy(), ApiSettings(model="m", max_model_len=9), subject.traffic))
    text = http.post("/v1/completions", json={"prompt": ["x" * size]})
    assert text.status_code == 400
    assert text.json()["error"]["message"] == "prompt[0]: character 3 is odd"
    chat = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "x" * size}]})
    assert chat.status_code == 400
    assert (chat.json()["error"]["message"], chat.json()["error"]["param"]) == ("messages: roles must alternate", "messages")


def test_a_scripted_engine_is_an_engine_link() -> None:
    link: EngineLink = ScriptedEngine()  # held by the type checker
    assert TestClient(house().app).get("/ready").json()["speculation"] is True
    link.set_speculation(False)
