"""A server on loopback in front of a scripted engine, and what tests ask of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from openai import OpenAI
from starlette.testclient import TestClient

from pipelines.registry import Registry
from pipelines.trace import Trace
from pipelines.traffic_log import LogCounters
from serving.api.app import create_app
from serving.api.server import ApiServer, listen, url_of
from serving.api.settings import ApiSettings
from serving.link import EngineLink
from serving.scripted import ScriptedEngine
from serving.traffic import TenantPolicy, TrafficRecorder
from tests.serving.tokenizers import ByteTokenizer

MODEL = "scripted/bytes"
CONTEXT = 400


class MemoryLog:
    """A `TrafficWriter` that keeps traces in a list, and drops what goes beyond its room."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.traces: list[Trace] = []
        self.num_flushes = 0
        self.num_durable = 0
        """Traces there were at the last flush."""
        self._room = room
        self._dropped = 0

    def append(self, trace: Trace) -> bool:
        if len(self.traces) == self._room:
            self._dropped += 1
            return False
        self.traces.append(trace)
        return True

    def flush(self, timeout: float) -> bool:
        self.num_flushes += 1
        self.num_durable = len(self.traces)
        return True

    def counters(self) -> LogCounters:
        written = len(self.traces)
        return LogCounters(appended=written + self._dropped, written=written, dropped=self._dropped, pending=0)

    def close(self, timeout: float = 5.0) -> None:
        self.flush(timeout)


@dataclass
class House:
    """One server and everything behind it."""

    engine: Any
    """A `ScriptedEngine`, unless a test brings another."""
    log: MemoryLog
    traffic: TrafficRecorder
    app: FastAPI
    url: str = ""

    def client(self, **options: Any) -> Any:
        """The official client; untyped, to send what is wrong too, and without retries, to see errors."""
        return OpenAI(base_url=f"{self.url}/v1", **{"api_key": "none", "max_retries": 0, **options})

    def http(self) -> TestClient:
        """In-process requests; what the app raises is not hidden, since it never should."""
        return TestClient(self.app)

    @property
    def num_active(self) -> int:
        snapshot = self.engine.snapshot()
        assert snapshot is not None
        return snapshot.num_running + snapshot.num_waiting


def house(
    engine: EngineLink | None = None,
    *,
    policy: TenantPolicy | None = None,
    log: MemoryLog | None = None,
    registry: Registry | None = None,
    **settings: Any,
) -> House:
    engine = engine or ScriptedEngine(eos_id=ByteTokenizer.eos)
    log = log or MemoryLog()
    traffic = TrafficRecorder(log, policy or TenantPolicy(), "target-1", ByteTokenizer.fingerprint)
    options = {"model": MODEL, "max_model_len": CONTEXT, **settings}
    app = create_app(engine, ByteTokenizer(), ApiSettings(**options), traffic, registry)
    return House(engine, log, traffic, app)


@contextmanager
def running(subject: House, drain_seconds: int = 10) -> Iterator[House]:
    """Serves it on loopback while the block runs."""
    bound = listen("127.0.0.1", 0)
    listening = threading.Event()
    server = ApiServer(subject.app, drain_seconds=drain_seconds, on_listening=listening.set)
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    try:
        assert listening.wait(10)
        subject.url = url_of(bound)
        yield subject
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether `condition` comes true; the time is only how long to wait before giving up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
