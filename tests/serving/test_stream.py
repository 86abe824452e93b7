"""The bytes of a stream, and that it ends with the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from starlette.types import Message

from serving.api.disconnect import unless_gone
from serving.api.errors import ClientGone
from serving.api.interleave import interleave
from serving.link import EngineDead
from serving.messages import Moved, Request
from serving.scripted import ScriptedEngine
from tests.serving.harness import House, house


def events(subject: House, path: str, **body: Any) -> list[Any]:
    """The payloads of a stream's events, checked for their form."""
    response = subject.http().post(path, json={"stream": True, "max_tokens": 8, "temperature": 0, **body})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    *parts, end = response.text.split("\n\n")
    assert end == ""
    assert parts.pop() == "data: [DONE]"
    assert all(part.startswith("data: ") and "\n" not in part for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def test_a_chat_stream_opens_with_the_role_and_closes_with_the_reason() -> None:
    script = "añb cdefgh".encode()
    subject = house(ScriptedEngine(lambda request: script))
    chunks = events(subject, "/v1/chat/completions", messages=[{"role": "user", "content": "x"}])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    # steps of 1, 3, 1 and 3 bytes
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "ñb"},
        {"content": " "},
        {"content": "cde"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 5 + ["length"]
    assert all("usage" not in chunk and "metrics" not in chunk for chunk in chunks)


def test_a_step_whose_text_is_held_back_still_has_its_chunk() -> None:
    subject = house(ScriptedEngine(lambda request: b"abcdefgh"))
    chunks = events(subject, "/v1/completions", prompt="x", stop="bcdezz")
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a", "", "", "bcdefgh", ""]


def test_token_ids_are_streamed_when_asked_for() -> None:
    chunks = events(house(ScriptedEngine()), "/v1/completions", prompt="abc", return_token_ids=True)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["prompt_token_ids"] == [97, 98, 99]
    assert all("prompt_token_ids" not in choice for choice in choices[1:])
    assert [token for choice in choices for token in choice.get("token_ids", [])] == list(b"abcabcab")


def test_the_statistics_come_with_the_usage_if_that_is_the_last_chunk() -> None:
    wanted = {"speculative_metrics": True, "stream_options": {"include_usage": True}}
    chunks = events(house(ScriptedEngine()), "/v1/completions", prompt="abc", **wanted)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["metrics"]["speculative_decoding"]["num_spec_steps"] == 3
    assert all("metrics" not in chunk for chunk in chunks[:-1])


class Fragile(ScriptedEngine):
    """Says one token, then what it is given to raise or to send."""

    def __init__(self, end: Exception | Moved) -> None:
        super().__init__()
        self._end = end

    async def submit(self, request: Request) -> AsyncIterator[Moved]:
        yield Moved(request.id, (97,), None, 1, -1)
        if isinstance(self._end, Exception):
            raise self._end
        yield self._end


@pytest.mark.parametrize(
    ("end", "status"),
    [(EngineDead("at 0x7f"), 503), (Moved(1, (), "abort", 0, -1), 503), (RuntimeError("at 0x7f"), 500)],
)
def test_a_stream_that_breaks_off_says_so_and_still_ends(end: Exception | Moved, status: int) -> None:
    broken = house(Fragile(end))
    response = broken.http().post("/v1/completions", json={"prompt": "x", "stream": True, "max_tokens": 8})
    parts = response.text.split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    assert json.loads(parts[-3].removeprefix("data: "))["error"]["code"] == status
    assert "0x7f" not in response.text
    (trace,) = broken.log.traces
    assert (trace.finish_reason, bytes(trace.output_ids)) == ("abort", b"a")


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    broken = house(Fragile(EngineDead("x")))
    response = broken.http().post("/v1/completions", json={"prompt": "x", "max_tokens": 8})
    assert response.status_code == 503
    assert broken.traffic.counters().balanced


# Hanging up.


def test_work_is_cancelled_when_the_client_hangs_up() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("cleanly")

    async def receive() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        asyncio.run(unless_gone(receive, work()))
    assert ended == ["cleanly"]


def test_work_that_ends_in_time_gives_its_result_or_its_error() -> None:
    async def receive() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def work(fails: bool) -> int:
        if fails:
            raise KeyError("x")
        return 5

    assert asyncio.run(unless_gone(receive, work(False))) == 5
    with pytest.raises(KeyError):
        asyncio.run(unless_gone(receive, work(True)))


# Several streams as one.


async def count(name: str, number: int, closed: list[str]) -> AsyncGenerator[str, None]:
    try:
        for index in range(number):
            await asyncio.sleep(0)
            yield f"{name}{index}"
        if number == 2:
            raise KeyError(name)
    finally:
        closed.append(name)


def test_streams_are_joined_as_their_items_come() -> None:
    async def scene() -> list[str]:
        return [item async for item in interleave([count("a", 1, []), count("b", 4, [])])]

    items = asyncio.run(scene())
    assert sorted(items) == ["a0", "b0", "b1", "b2", "b3"]
    assert [item for item in items if item[0] == "b"] == ["b0", "b1", "b2", "b3"]
    assert items.index("a0") < items.index("b2")


def test_an_error_in_one_stream_closes_the_others() -> None:
    closed: list[str] = []

    async def scene() -> None:
        async for _ in interleave([count("a", 2, closed), count("b", 10**9, closed)]):
            pass

    with pytest.raises(KeyError, match="a"):
        asyncio.run(scene())
    assert sorted(closed) == ["a", "b"]


def test_closing_the_joined_stream_closes_all() -> None:
    closed: list[str] = []

    async def scene() -> None:
        joined = interleave([count("a", 10**9, closed), count("b", 10**9, closed)])
        await anext(joined)
        await joined.aclose()
        assert sorted(closed) == ["a", "b"]

    asyncio.run(scene())
