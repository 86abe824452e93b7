"""Sending prompts with the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from openai import AsyncOpenAI

from cli.demo.prompts import Message, Prompt
from cli.demo.traffic import STREAM_EVERY, Exchange, Sampling, Traffic

Handler = Callable[[dict[str, Any]], httpx.Response]

METRICS = {
    "speculative_decoding": {
        "num_spec_steps": 2,
        "num_plain_steps": 1,
        "num_accepted_draft_tokens": 3,
        "mean_acceptance_length": 2.5,
        "steps": {"medusa": {"v1": 2}},
    }
}


def some_prompts(count: int) -> Iterator[Prompt]:
    return (Prompt("sql", (Message("user", f"prompt {number}"),), 16) for number in range(count))


def answer(body: dict[str, Any]) -> httpx.Response:
    """Answers with ids that name the seed: 7, 8 and the seed."""
    common = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
    ids = [7, 8, body["seed"]]
    if not body.get("stream"):
        message = {"role": "assistant", "content": "text"}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "token_ids": ids}
        whole = {**common, "object": "chat.completion", "choices": [choice], "prompt_token_ids": [1, 2]}
        return httpx.Response(200, json={**whole, "metrics": METRICS})
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant"}}], "prompt_token_ids": [1, 2]},
        {"choices": [{"index": 0, "delta": {"content": "te"}, "token_ids": ids[:2]}]},
        {"choices": [{"index": 0, "delta": {"content": "xt"}, "token_ids": ids[2:], "finish_reason": "stop"}]},
        {"choices": [], "metrics": METRICS},
    ]
    lines = [json.dumps({**common, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
    text = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


def connected(transport: httpx.MockTransport) -> AsyncOpenAI:
    # Any: releases of the client differ in which httpx they name
    http: Any = httpx.AsyncClient(transport=transport)
    return AsyncOpenAI(base_url="http://everdraft.test/v1", api_key="k", max_retries=0, http_client=http)


def sent(handler: Handler, count: int, concurrency: int = 3, learn: bool = True) -> list[Exchange]:
    exchanges: list[Exchange] = []

    async def run() -> None:
        transport = httpx.MockTransport(lambda request: handler(json.loads(request.content)))
        async with connected(transport) as client:
            traffic = Traffic(client, "demo")
            sampling = Sampling(0.8, 1000)
            await traffic.send(some_prompts(count), sampling, concurrency, exchanges.append, learn=learn)

    asyncio.run(run())
    return exchanges


def test_every_prompt_is_answered_once_with_a_seed_of_its_own() -> None:
    asked: list[dict[str, Any]] = []

    def handler(body: dict[str, Any]) -> httpx.Response:
        asked.append(body)
        return answer(body)

    exchanges = sent(handler, 20)
    assert sorted(body["messages"][0]["content"] for body in asked) == sorted(f"prompt {n}" for n in range(20))
    assert sorted(exchange.seed for exchange in exchanges) == list(range(1000, 1020))
    assert all(exchange.output_ids == (7, 8, exchange.seed) for exchange in exchanges)
    assert all(exchange.prompt_ids == (1, 2) and exchange.error is None for exchange in exchanges)
    assert all(body["metadata"] == {"domain": "sql"} and body["temperature"] == 0.8 for body in asked)


def test_streamed_and_whole_answers_are_recorded_alike() -> None:
    streamed: list[bool] = []

    def handler(body: dict[str, Any]) -> httpx.Response:
        streamed.append(bool(body.get("stream")))
        return answer(body)

    exchanges = sent(handler, 2 * STREAM_EVERY)
    assert streamed.count(True) == 2
    assert {exchange.speculation.num_spec_steps for exchange in exchanges} == {2}
    assert all(exchange.speculation.steps == {"medusa": {"v1": 2}} for exchange in exchanges)


def test_failures_are_recorded_and_neither_retried_nor_fatal() -> None:
    asked = 0

    def handler(body: dict[str, Any]) -> httpx.Response:
        nonlocal asked
        asked += 1
        if body["messages"][0]["content"] in ("prompt 1", "prompt 4"):
            return httpx.Response(500, json={"error": {"message": "out of luck", "type": "server_error"}})
        return answer(body)

    exchanges = sent(handler, 6)
    assert asked == 6
    assert sum(exchange.error is not None for exchange in exchanges) == 2
    assert any("out of luck" in (exchange.error or "") for exchange in exchanges)


def test_an_answer_without_token_ids_counts_as_failed() -> None:
    def handler(body: dict[str, Any]) -> httpx.Response:
        bare = json.loads(answer({**body, "stream": False}).content)
        del bare["choices"][0]["token_ids"]
        return httpx.Response(200, json=bare)

    exchanges = sent(handler, 4)
    assert all("token ids" in (exchange.error or "") for exchange in exchanges if exchange.index % STREAM_EVERY)


def test_the_server_may_be_asked_not_to_learn() -> None:
    stored: list[bool] = []

    def handler(body: dict[str, Any]) -> httpx.Response:
        stored.append(body["store"])
        return answer(body)

    sent(handler, 3, learn=False)
    sent(handler, 2)
    assert stored == [False] * 3 + [True] * 2


def test_no_more_requests_are_under_way_than_asked_for() -> None:
    under_way = most = 0

    async def run() -> None:
        full = asyncio.Event()

        async def handler(request: httpx.Request) -> httpx.Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if under_way == 4:
                full.set()
            await asyncio.wait_for(full.wait(), 10)  # nobody is answered before four have asked
            await asyncio.sleep(0)
            under_way -= 1
            return answer(json.loads(request.content))

        async with connected(httpx.MockTransport(handler)) as client:
            await Traffic(client, "demo").send(some_prompts(20), Sampling(0.0, 0), 4, lambda _: None)

    asyncio.run(run())
    assert most == 4
