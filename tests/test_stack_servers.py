"""The stack over a real broker and a real Redis: the whole circle, and each of the two taken away while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.traffic_log import open_reader
from tests.running_stack import ROOT, Stack, wait_for
from tests.servers.kafka_broker import Broker
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.slow


class Servers:
    """A broker, a Redis that keeps what it holds, and a stack that uses both."""

    def __init__(self, folder: Path) -> None:
        for name in ("broker", "redis"):
            (folder / name).mkdir()
        self.broker, self.redis = Broker(folder / "broker"), RedisServer(folder / "redis", persistent=True)
        self.broker.start()
        self.redis.start()
        self.traffic = f"kafka://{self.broker.address}/traffic"
        self.flags = ("--traffic", self.traffic, "--registry", self.redis.url, "--data", str(folder / "data"))
        try:
            self.verb("topics", "--partitions", "2")
            self.stack = Stack(folder, *self.flags[:4])
        except BaseException:
            self.broker.kill()
            self.redis.kill()
            raise

    def verb(self, *words: str) -> str:
        """What a verb of the command line says."""
        command = (sys.executable, "everdraft.py", *words, *self.flags)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def logged(self) -> set[str]:
        """Ids of the answers whose traces are in the topic."""
        with closing(open_reader(self.traffic)) as reader:
            return {logged.trace.trace_id.rpartition("-")[0] for logged in reader.read({}, 1000)}

    def figures(self) -> dict[str, float]:
        """What the trainer says of itself."""
        presences = json.loads(self.verb("status", "--json"))["presences"]
        return next((each["figures"] for each in presences if each["name"].startswith("trainer:")), {})

    def consumed(self) -> int:
        return int(self.figures().get("traces", 0.0))

    def close(self) -> None:
        self.stack.stop()
        self.broker.kill()
        self.redis.kill()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    running = Servers(tmp_path)
    yield running
    running.close()


def test_traffic_goes_over_kafka_to_the_trainer_and_versions_over_redis(servers: Servers) -> None:
    asked = {servers.stack.ask(number) for number in range(8)}
    wait_for("the traces in the topic", lambda: asked <= servers.logged() or None)
    wait_for("the trainer to read them", lambda: servers.consumed() >= 8 or None)
    status = json.loads(servers.verb("status", "--json"))
    assert {each["name"].partition(":")[0] for each in status["presences"]} == {"serving", "trainer"}
    assert set(status["traffic_end"]) <= {"0", "1"}
    assert "run-" in servers.verb("retrain", "--reason", "asked for in a test")
    # it may have ended before anybody looks
    (run,) = wait_for("the trainer to take the run up", lambda: _begun(json.loads(servers.verb("runs", "--json"))) or None)
    assert run["reason"] == "asked for in a test"


def _begun(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["state"] != "queued"]


# kafka-python leaves a socket to the broker that went away to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
def test_with_the_broker_away_answers_go_on_and_their_traces_follow(servers: Servers) -> None:
    asked = {servers.stack.ask(0)}
    wait_for("the first trace in the topic", lambda: asked <= servers.logged() or None)
    servers.broker.freeze()
    asked |= {servers.stack.ask(number) for number in range(1, 6)}
    time.sleep(1.0)
    servers.broker.thaw()
    asked |= {servers.stack.ask(6)}
    wait_for("every trace in the topic", lambda: asked <= servers.logged() or None)
    wait_for("the trainer to read them", lambda: servers.consumed() >= 7 or None)
    assert servers.consumed() == 7


def test_with_redis_away_answers_and_training_go_on_and_both_return(servers: Servers) -> None:
    asked = {servers.stack.ask(0)}
    wait_for("the trainer to read", lambda: servers.consumed() >= 1 or None)
    servers.redis.kill()
    asked |= {servers.stack.ask(number) for number in range(1, 6)}
    time.sleep(2.0)
    asked |= {servers.stack.ask(6)}
    servers.redis.start()
    wait_for("the trainer to say that it read on", lambda: servers.consumed() >= 7 or None)
    assert servers.stack.process.poll() is None, servers.stack.said()
    wait_for("every trace in the topic", lambda: asked <= servers.logged() or None)
