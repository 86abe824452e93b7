"""A stack that answers over HTTP without a model, and can be told to break a promise."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from cli.demo.claims import Plain
from cli.demo.prompts import Message
from cli.demo.stack import Acceptance, Status, Steps, Version
from cli.demo.traffic import Exchange

NUM_TOKENS = 20
MAX_LENGTH = 2048


class StackGoneError(Exception):
    pass


class FakeStack:
    """Speaks chat completions on a free port; swaps once after `swap_after` requests.

    Prompt ids are the text's bytes; an answer is a function of prompt and seed. Use as a context manager.
    """

    def __init__(self, swap_after: int = 30, fail: frozenset[int] = frozenset(), gain: float = 1.5) -> None:
        self.asked: list[dict[str, Any]] = []
        self.swap_after = swap_after
        self.fail = fail
        """Requests, by number, that are answered with status 500."""
        self.gain = gain
        self.wrong_plain = False
        self.gone = False
        self.training = True
        self.num_calls = 0

    def __enter__(self) -> FakeStack:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    base_url = property(lambda self: f"http://127.0.0.1:{self._server.server_port}/v1")
    api_key = property(lambda self: "key")
    model = property(lambda self: "fake")
    max_length = property(lambda self: MAX_LENGTH)
    about = property(lambda self: {"Target": "none at all"})

    @property
    def swapped(self) -> bool:
        return len(self.asked) >= self.swap_after

    def status(self) -> Status:
        if self.gone:
            raise StackGoneError("the server is gone")
        steps = 10.0 * len(self.asked)
        return Status(
            version="second" if self.swapped else "first",
            num_swaps=3 + self.swapped,
            training_step=len(self.asked),
            training_state="training" if self.training else "stopped",
            num_tokens=NUM_TOKENS * len(self.asked),
            static=Acceptance(steps, 1.4 * steps),
            adaptive=Acceptance(steps, 1.4 * steps * self.gain),
            served=Acceptance(steps, 2.5 * steps),
        )

    def versions(self) -> list[Version]:
        first = Version(version="first", parent=None, created_at=0.0, num_traces=0, gain=None, gain_lower=None, published=True)
        second = Version(version="second", parent="first", created_at=1.0, num_traces=9, gain=0.2, gain_lower=0.1, published=True)
        return [first, second] if self.swapped else [first]

    def num_prompt_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages)

    def stop_training(self) -> None:
        self.training = False

    def plain(self, exchange: Exchange) -> Plain:
        self.num_calls += 1
        ids = answer_ids(exchange.prompt_ids, exchange.seed)
        if self.wrong_plain and self.num_calls == 7:
            ids = (*ids[:-1], ids[-1] + 1)
        return Plain(ids, (1.0,) * len(ids))

    def replay(self, exchanges: Sequence[Exchange]) -> list[Steps]:
        assert not self.training
        return [Steps(round(12 * self._gain(exchange)) + exchange.index % 2, 12) for exchange in exchanges]

    def _gain(self, exchange: Exchange) -> float:
        """What was learnt is good for sampled answers of the last domains and bad for all others."""
        learnt = exchange.domain in ("sql", "math") and exchange.temperature > 0
        return self.gain if learnt else 0.5


def answer_ids(prompt_ids: Sequence[int], seed: int) -> tuple[int, ...]:
    """Never loops: its tokens are distinct."""
    digest = hashlib.sha256(f"{list(prompt_ids)}:{seed}".encode()).digest()
    return tuple(100 * place + digest[place] % 100 for place in range(NUM_TOKENS))


def _handler(stack: FakeStack) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            stack.asked.append(body)
            if len(stack.asked) - 1 in stack.fail:
                self._send(500, "application/json", json.dumps({"error": {"message": "broken"}}))
            elif body.get("stream"):
                chunks = [json.dumps(chunk) for chunk in _chunks(body)]
                text = "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"])
                self._send(200, "text/event-stream", text)
            else:
                self._send(200, "application/json", json.dumps(_whole(body)))

        def _send(self, status: int, kind: str, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


_METRICS = {"speculative_decoding": {"num_spec_steps": 8, "num_plain_steps": 1, "steps": {"medusa": {"first": 8}}}}


def _ids(body: dict[str, Any]) -> tuple[list[int], list[int]]:
    prompt = list("".join(message["content"] for message in body["messages"]).encode())
    return prompt, list(answer_ids(prompt, body["seed"]))


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    prompt, answer = _ids(body)
    message = {"role": "assistant", "content": "words"}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "token_ids": answer}
    return _envelope("chat.completion", choices=[choice], prompt_token_ids=prompt, metrics=_METRICS)


def _chunks(body: dict[str, Any]) -> list[dict[str, Any]]:
    prompt, answer = _ids(body)
    delta = {"index": 0, "delta": {"content": "words"}, "token_ids": answer, "finish_reason": "stop"}
    return [
        _envelope("chat.completion.chunk", choices=[delta], prompt_token_ids=prompt),
        _envelope("chat.completion.chunk", choices=[], metrics=_METRICS),
    ]


def _envelope(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1, "model": "fake", "object": kind, **fields}
