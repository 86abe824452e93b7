"""A worker of another host: it dials in, drafts, dies, and is taken back; serving never waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.messages import Request
from serving.settings import EngineSettings
from speculator.ssd.address import Address
from speculator.ssd.remote import RemoteWorkers
from tests.serving.rig import plain_engine
from tests.speculator.draft_models import draft_model, target_of
from tests.speculator.ssd.test_worker_fails import TARGET, birth, engine_with
from tests.speculator.test_draft_lm import checkpoint, served
from tests.wait import wait_until

ROOT = Path(__file__).parents[3]
HERE = Address("127.0.0.1", 0)


@contextmanager
def draft_worker(address: Address) -> Iterator[subprocess.Popen[bytes]]:
    """`everdraft draft-worker`, dialling there."""
    process = subprocess.Popen(
        (sys.executable, str(ROOT / "everdraft.py"), "draft-worker", "--connect", str(address), "--threads", "1"),
        cwd="/",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_worker_that_dials_in_drafts_dies_and_is_taken_back() -> None:
    remote = RemoteWorkers(HERE, birth())
    engine, source = engine_with(remote.start, patience=0.05, stop=remote.close)  # type: ignore[arg-type]
    asked = [Request(id=n, prompt_ids=(3, n), max_tokens=60, temperature=0.8, seed=n) for n in range(4)]
    expected = served(plain_engine(target_of(TARGET)), asked)

    counters = source.counters

    def until(holds: Callable[[], bool]) -> None:
        """The answers are right all the while."""
        wait_until(lambda: served(engine, asked) == expected and holds(), 60)

    def until_it_hits(more: int) -> None:
        before = counters["ssd_rounds:hit"]
        until(lambda: source.up and counters["ssd_rounds:hit"] >= before + more)

    assert served(engine, asked) == expected, "with nobody there"
    with draft_worker(remote.address) as first:
        until_it_hits(20)
        source.load(checkpoint(draft_model(seed=5)))
        until(lambda: source.version.startswith("draft-"))
        first.send_signal(signal.SIGKILL)
        until(lambda: counters["ssd_failures"] == 1)
    assert not source.up
    with draft_worker(remote.address) as second:
        until_it_hits(1)
        second.send_signal(signal.SIGSTOP)  # hung, not gone
        until(lambda: counters["ssd_failures"] == 2)
        second.send_signal(signal.SIGCONT)
        until_it_hits(1)  # it has heard that it was given up, and dialled again
        engine.close()
    engine.close()  # twice is once


@pytest.mark.slow
def test_a_worker_outlives_its_engine_and_waits_for_the_next() -> None:
    asked = [Request(id=n, prompt_ids=(3, n), max_tokens=60, temperature=0.0) for n in range(2)]
    expected = served(plain_engine(target_of(TARGET)), asked)
    remote = RemoteWorkers(HERE, birth())
    address = remote.address
    with draft_worker(address) as worker:
        for _ in range(2):
            engine, source = engine_with(remote.start, patience=0.05, stop=remote.close)  # type: ignore[arg-type]
            wait_until(lambda: served(engine, asked) == expected and source.counters["ssd_rounds:hit"] > 5, 60)  # noqa: B023
            engine.close()
            assert worker.poll() is None
            remote = RemoteWorkers(address, birth())
    remote.close()


def test_an_engine_that_is_closed_while_it_waits_waits_no_more() -> None:
    remote = RemoteWorkers(HERE, birth())
    engine, source = engine_with(remote.start, stop=remote.close)  # type: ignore[arg-type]
    asked = [Request(id=1, prompt_ids=(3, 1), max_tokens=20, temperature=0.0)]
    served(engine, asked)
    assert source._starter is not None
    assert source._starter.is_alive()
    started_at = time.monotonic()
    engine.close()
    assert time.monotonic() - started_at < 10
    assert not source._starter.is_alive()
    RemoteWorkers(remote.address, birth()).close()  # the port is free again


@pytest.mark.parametrize("text", ["7000", "0.0.0.0:7000", "host:http"])
def test_a_setting_that_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^ssd_listen is '{text}', expected HOST:PORT"):
        EngineSettings(target="x", ssd_listen=text)
    assert EngineSettings(target="x", ssd_listen="127.0.0.1:7000").ssd_listen == "127.0.0.1:7000"
