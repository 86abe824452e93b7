"""What the engine is asked, for what the client sent."""

from __future__ import annotations

from typing import Any

import pytest

from serving.messages import Request
from serving.scripted import ScriptedEngine
from tests.serving.harness import CONTEXT, house
from tests.serving.tokenizers import ByteTokenizer

EOS = ByteTokenizer.eos


def asked(path: str = "/v1/completions", **body: Any) -> Request:
    """The request that reaches the engine."""
    seen: list[Request] = []

    def script(request: Request) -> bytes:
        seen.append(request)
        return b"x"

    sound = {"prompt": "abc", "messages": [{"role": "user", "content": "hi"}]}
    response = house(ScriptedEngine(script, eos_id=EOS)).http().post(path, json={**sound, **body})
    assert response.status_code == 200, response.text
    (request,) = seen
    return request


def test_defaults_are_those_of_the_openai_api() -> None:
    request = asked()
    assert request.prompt_ids == tuple(b"abc")
    assert (request.temperature, request.top_p, request.top_k, request.min_p) == (1.0, 1.0, 0, 0.0)
    assert request.max_tokens == 16
    assert request.stop_ids == (EOS,)
    assert request.speculative
    assert request.choice == 0


def test_a_priority_reaches_the_engine() -> None:
    assert asked(prompt="a").priority == 0
    assert asked(prompt="a", priority=-3).priority == -3


def test_null_means_the_default() -> None:
    fields = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "stop", "stop_token_ids", "speculative")
    nothing: dict[str, Any] = dict.fromkeys(fields)
    request = asked(seed=1, **nothing)
    default = asked(seed=1)
    assert request == default


@pytest.mark.parametrize(
    ("field", "sent", "resolved"),
    [
        ("temperature", 0, 0.0),
        ("temperature", 1e-300, 0.01),
        ("temperature", 2, 2.0),
        ("top_k", -1, 0),
        ("top_k", 0, 0),
        ("top_k", 7, 7),
        ("top_k", ByteTokenizer.vocab_size, 0),
        ("top_p", 0.5, 0.5),
        ("min_p", 0.25, 0.25),
        ("seed", -5, -5),
        ("speculative", False, False),
    ],
)
def test_a_value_arrives_as_it_is_meant(field: str, sent: Any, resolved: Any) -> None:
    assert getattr(asked(**{field: sent}), field) == resolved


def test_stop_tokens_are_the_models_end_and_those_asked_for() -> None:
    assert asked(stop_token_ids=[5, 5, 9]).stop_ids == (5, 9, EOS)
    assert asked(ignore_eos=True).stop_ids == ()
    assert asked(ignore_eos=True, stop_token_ids=[9]).stop_ids == (9,)


def test_a_chat_may_fill_the_context_and_its_newer_limit_wins() -> None:
    chat = "/v1/chat/completions"
    request = asked(chat)
    assert len(request.prompt_ids) + request.max_tokens == CONTEXT
    assert asked(chat, max_tokens=7).max_tokens == 7
    assert asked(chat, max_tokens=7, max_completion_tokens=9).max_tokens == 9
