"""A worker that dies, hangs, is late or talks nonsense: the engine goes on at once, says so, and takes it back."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time
from collections.abc import Callable

import msgspec
import pytest
import safetensors.torch

from pipelines.wire import WireClosed
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from speculator.merged import MergedSpeculator
from speculator.ssd.messages import Ask, Birth, Drafted, FromWorker, Ready, Reply, ToWorker
from speculator.ssd.process import WorkerProcess
from speculator.ssd.speculator import SsdSpeculator
from speculator.ssd.transport import Link
from tests.serving.rig import VOCAB, plain_engine, tiny_scheduler
from tests.speculator.draft_models import draft_model, target_of
from tests.speculator.ssd.beside import Beside
from tests.speculator.test_draft_lm import checkpoint, requests, served
from tests.wait import wait_until

TARGET = draft_model(seed=0)


def engine_with(start: Callable[[], Link], **options: float) -> tuple[Engine, SsdSpeculator]:
    source = SsdSpeculator(start, version="v0", shape=TARGET.shape, vocab_size=VOCAB, **options)  # type: ignore[arg-type]
    target = target_of(TARGET)
    scheduler = tiny_scheduler(target, max_running=4)
    return Engine(target, scheduler, MergedSpeculator([source], max_tree=12), FixedBudget(12)), source


class Broken(Beside):
    """A sound worker whose words are bent by `bend` on their way."""

    def __init__(self, bend: Callable[[FromWorker], list[FromWorker]]) -> None:
        super().__init__(draft_model(seed=0))
        self._bend = bend
        self.closed = False

    def receive(self, seconds: float) -> list[FromWorker]:
        return [each for said in super().receive(seconds) for each in self._bend(said)]

    def close(self) -> None:
        self.closed = True


def reply(said: FromWorker, **changes: object) -> FromWorker:
    return msgspec.structs.replace(said, **changes) if isinstance(said, Reply) else said


def raising(error: Exception) -> Callable[[FromWorker], list[FromWorker]]:
    def bend(said: FromWorker) -> list[FromWorker]:
        if isinstance(said, Reply):
            raise error
        return [said]

    return bend


WRONG_TOKEN = (Drafted(0, True, (VOCAB,), (0,), (0.5,)),)
WRONG_PARENT = (Drafted(0, True, (1, 2), (0, 3), (0.5, 0.5)),)
FAULTS = {
    "gone": raising(WireClosed("connection reset")),
    "garbage": raising(msgspec.DecodeError("bytes that are no message")),
    "a parent that is none": lambda said: [reply(said, rows=WRONG_PARENT * 4)],
    "a token that is none": lambda said: [reply(said, rows=WRONG_TOKEN * 4)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_that_is_broken_is_given_up_and_the_text_is_right(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    links: list[Broken] = []

    def start() -> Link:
        links.append(Broken(FAULTS[fault]))
        return links[-1]

    engine, source = engine_with(start)
    asked = requests(6, 0.8)
    asked = [msgspec.structs.replace(each, id=0) for each in asked[:1]] + asked[1:]
    with caplog.at_level(logging.ERROR):
        assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked)
        wait_until(lambda: starts_again(engine, source) and bool(links) and links[0].closed)
    assert source.counters["ssd_failures"] >= 1
    assert "the drafting worker is given up" in caplog.text
    assert not source.up


def starts_again(engine: Engine, source: SsdSpeculator) -> bool:
    """One more answer, so that the fault has come to light."""
    served(engine, [Request(id=0, prompt_ids=(1, 2), max_tokens=12, temperature=0.0)])
    return source.counters["ssd_failures"] >= 1


def test_a_worker_that_is_started_beforehand_drafts_for_the_first_answer() -> None:
    links: list[Beside] = []

    def start() -> Link:
        links.append(Beside(draft_model(seed=0)))
        return links[-1]

    engine, source = engine_with(start)
    source.start()
    wait_until(lambda: source._starting or source._link is not None)  # taken up at once, if it was quick
    source.start()  # once is enough
    asked = [Request(id=1, prompt_ids=(3, 1, 4), max_tokens=40, temperature=0.0)]
    assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked)
    assert len(links) == 1
    assert source.counters["ssd_rounds:hit"] > 5


def test_words_of_another_round_are_left_aside() -> None:
    def late(said: FromWorker) -> list[FromWorker]:
        return [reply(said, round=said.round - 1), said] if isinstance(said, Reply) else [said]

    engine, source = engine_with(lambda: Broken(late))
    asked = [Request(id=1, prompt_ids=(3, 1, 4), max_tokens=40, temperature=0.0)]
    wait_until(lambda: served(engine, asked) is not None and source.up)
    assert served(engine, asked) == served(plain_engine(target_of(TARGET)), asked)
    assert source.counters["ssd_late"] > 5
    assert source.counters["ssd_tokens:hit"] > 3 * source.counters["ssd_rounds:hit"]


def test_a_worker_that_hangs_holds_up_a_round_for_its_patience_and_is_then_given_up() -> None:
    links: list[Broken] = []

    def start() -> Link:
        links.append(Broken(lambda said: [] if isinstance(said, Reply) else [said]))
        return links[-1]

    engine, source = engine_with(start, patience=0.01, hang=0.15)
    asked = [Request(id=1, prompt_ids=(3, 1, 4), max_tokens=40, temperature=0.0)]
    expected = served(plain_engine(target_of(TARGET)), asked)
    wait_until(lambda: served(engine, asked) == expected and source.counters["ssd_failures"] == 1)
    started = time.monotonic()
    assert served(engine, asked) == expected
    assert time.monotonic() - started < 1.0, "nobody is waited for any more"
    wait_until(lambda: links[0].closed)


def test_a_worker_that_was_given_up_is_started_again_and_knows_every_sequence() -> None:
    links: list[Beside] = []

    def start() -> Link:
        links.append(Broken(FAULTS["gone"]) if not links else Beside(draft_model(seed=0)))
        return links[-1]

    engine, source = engine_with(start)
    asked = [Request(id=n, prompt_ids=(3, n), max_tokens=60, temperature=0.0) for n in range(3)]
    expected = served(plain_engine(target_of(TARGET)), asked)
    source._wait = 0.01
    said: dict[int, tuple[int, ...]] = {}
    for request in asked:
        engine.submit(request)
    steps = 0
    while engine.has_work:
        for moved in engine.step():
            said[moved.id] = said.get(moved.id, ()) + moved.token_ids
        steps += 1
        time.sleep(0.01 if steps < 8 else 0.0)  # the starts take a thread's while
    assert said == expected
    assert len(links) == 2
    assert source.up
    assert source.counters["ssd_rounds:hit"] > 5


def test_what_does_not_start_is_tried_again_ever_more_rarely() -> None:
    attempts: list[float] = []

    def start() -> Link:
        attempts.append(time.monotonic())
        raise OSError("no such program")

    engine, source = engine_with(start)
    source._wait = 0.05
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        served(engine, [Request(id=1, prompt_ids=(3, 1), max_tokens=5, temperature=0.0)])
    gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert 3 <= len(attempts) <= 6
    assert gaps == sorted(gaps)


def birth() -> Birth:
    draft = draft_model(seed=0)
    weights = safetensors.torch.save({name: tensor.detach().contiguous() for name, tensor in draft.tensors.items()})
    return Birth(config=draft.config, version="v1", weights=weights, page_size=4, num_pages=400, room=80)


@pytest.mark.slow
def test_a_process_of_its_own_serves_dies_and_is_taken_back() -> None:
    workers: list[WorkerProcess] = []

    def start() -> Link:
        workers.append(WorkerProcess(birth()))
        return workers[-1]

    engine, source = engine_with(start, patience=0.05)
    asked = [Request(id=n, prompt_ids=(3, n), max_tokens=60, temperature=0.8, seed=n) for n in range(4)]
    expected = served(plain_engine(target_of(TARGET)), asked)
    wait_until(lambda: served(engine, asked) == expected and source.counters["ssd_rounds:hit"] > 20, 60)
    engine.speculator.load  # noqa: B018 (the source alone takes weights of this kind)
    source.load(checkpoint(draft_model(seed=5)))
    wait_until(lambda: served(engine, asked) == expected and source.version.startswith("draft-"), 60)
    os.kill(workers[0].pid, signal.SIGKILL)
    wait_until(lambda: served(engine, asked) == expected and len(workers) == 2 and source.up, 60)
    assert source.counters["ssd_failures"] == 1
    hits = source.counters["ssd_rounds:hit"]
    wait_until(lambda: served(engine, asked) == expected and source.counters["ssd_rounds:hit"] > hits, 60)
    os.kill(workers[1].pid, signal.SIGSTOP)  # hung, not gone
    wait_until(lambda: served(engine, asked) == expected and source.counters["ssd_failures"] == 2, 60)
    source.close()
    wait_until(lambda: not any(alive(each.pid) for each in workers))


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_birth_of_a_worker_survives_the_wire() -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(birth()), type=ToWorker)
    assert again == birth()
    assert not isinstance(again, Ask | Ready)
