"""SIGTERM: what runs finishes, nothing new is taken, and the traffic log is flushed."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from serving.api.server import listen, url_of
from serving.messages import Moved, Request
from serving.scripted import ScriptedEngine
from tests.serving.harness import MODEL, eventually, house, running

ROOT = Path(__file__).parents[2]
SERVER = """
import sys
from serving.api.server import run_server
from serving.scripted import ScriptedEngine
from tests.serving.harness import house

subject = house(ScriptedEngine(step_seconds=0.005), max_model_len=10**6)
say = lambda *words: print(*words, flush=True)
run_server(subject.app, port=0, drain_seconds=int(sys.argv[1]), on_listening=say)
counters = subject.traffic.counters()
say("ended", subject.log.num_flushes, counters.finished, counters.balanced, subject.num_active)
say("finish", *[trace.finish_reason for trace in subject.log.traces])
"""


@contextmanager
def served(drain_seconds: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(drain_seconds)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def num_running(url: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))


def ended(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return out.splitlines()


def test_a_running_stream_is_finished_before_the_server_ends() -> None:
    with served(20) as (process, url), openai.OpenAI(base_url=f"{url}/v1", api_key="x") as client:
        stream = iter(client.completions.create(model=MODEL, prompt="ab", max_tokens=300, stream=True))
        chunks = [next(stream)]
        process.send_signal(signal.SIGTERM)
        address = urlsplit(url)

        def refuses() -> bool:
            try:
                socket.create_connection((address.hostname or "", address.port or 0), 1).close()
            except OSError:
                return True
            return False

        assert eventually(refuses), "new connections are still taken"
        chunks += stream
        assert chunks[-1].choices[0].finish_reason == "length"
        assert len("".join(chunk.choices[0].text for chunk in chunks)) == 300
        assert ended(process) == ["ended 1 1 True 0", "finish length"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_does_not_finish_in_time_is_aborted_and_logged_as_such(number: int) -> None:
    with served(1) as (process, url):
        outcomes: list[object] = []

        def ask() -> None:
            try:
                body = {"prompt": "ab", "max_tokens": 10**5}
                outcomes.append(httpx.post(f"{url}/v1/completions", json=body, timeout=30).status_code)
            except httpx.HTTPError as error:
                outcomes.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert eventually(lambda: num_running(url) == 1)
        process.send_signal(number)
        assert ended(process) == ["ended 1 1 True 0", "finish abort"]
        thread.join(10)
        assert outcomes != [200]


def test_a_server_may_be_stopped_from_its_own_process_too() -> None:
    with running(house()) as subject:
        assert httpx.get(f"{subject.url}/health").status_code == 200
    assert subject.log.num_flushes == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{subject.url}/health")


class SlowToAbort(ScriptedEngine):
    """Takes its time to let go of a request."""

    async def submit(self, request: Request) -> AsyncIterator[Moved]:
        try:
            yield Moved(request.id, (97,), None, 1, -1)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)


def test_the_log_is_flushed_after_the_last_abort_however_long_it_takes() -> None:
    with ExitStack() as clients:
        with running(house(SlowToAbort()), drain_seconds=1) as subject:
            client = clients.enter_context(subject.client())
            stream = iter(client.completions.create(model=MODEL, prompt="x", stream=True))
            next(stream)
        assert subject.log.num_flushes == 1
    assert subject.log.num_durable == 1
    assert subject.log.traces[0].finish_reason == "abort"


def test_an_address_that_is_taken_is_an_error_at_once() -> None:
    with listen("127.0.0.1", 0) as bound:
        assert url_of(bound).startswith("http://127.0.0.1:")
        with pytest.raises(OSError):
            listen("127.0.0.1", bound.getsockname()[1])
