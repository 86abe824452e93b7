"""Pacing beside a server, with a clock that only moves when told to."""

from __future__ import annotations

import pytest

from pipelines.registry import Presence
from trainer.sizing import GRAIN, Sizing
from trainer.slices import Load, Pacer, load_of


class World:
    """Time, and a server that is busy during given spans."""

    def __init__(self, busy: list[tuple[float, float]], *, alone: bool = False) -> None:
        self.now = 0.0
        self.cpu = 0.0
        self.stopped = False
        self._busy = busy
        self._alone = alone
        self.pacer = Pacer(
            self.load,
            share=0.1,
            interval=0.1,
            clock=lambda: self.now,
            worked=lambda: self.cpu,
            wait=self.wait,
        )

    def load(self) -> Load:
        if self._alone:
            return "alone"
        return "busy" if any(start <= self.now < stop for start, stop in self._busy) else "idle"

    def work(self) -> bool:
        self.now += 0.05
        self.cpu += 0.05
        return True

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.stopped

    def run(self, until: float) -> None:
        while self.now < until:
            assert self.pacer.run(self.work)


def test_beside_a_busy_server_it_takes_its_guaranteed_share_and_no_more() -> None:
    world = World([(0.0, 1000.0)])
    world.run(100.0)
    assert world.pacer.used.guaranteed == pytest.approx(10.0, rel=0.01)
    assert world.pacer.used.idle == world.pacer.used.alone == 0.0


def test_beside_an_idle_server_it_works_without_a_pause() -> None:
    world = World([])
    world.run(10.0)
    assert world.pacer.used.idle == pytest.approx(10.0)


def test_alone_it_works_without_a_pause() -> None:
    world = World([(0.0, 1000.0)], alone=True)
    world.run(10.0)
    assert world.pacer.used.alone == pytest.approx(10.0)


def test_idle_and_guaranteed_seconds_are_told_apart() -> None:
    world = World([(20.0, 60.0)])
    world.run(80.0)
    assert world.pacer.used.idle == pytest.approx(40.0, abs=0.5)
    assert world.pacer.used.guaranteed == pytest.approx(4.0, abs=0.3)


def test_a_pause_ends_when_the_server_falls_idle() -> None:
    world = World([(0.0, 0.2)])
    world.pacer.run(world.work)
    assert world.now < 0.4  # a whole pause would last until 0.5


def test_a_process_told_to_stop_does_not_finish_its_pause() -> None:
    world = World([(0.0, 1000.0)])
    world.stopped = True
    world.pacer.run(world.work)
    assert world.now < 0.2


def serving(**figures: float) -> Presence:
    return Presence(name="serving:a", at=0.0, ttl=1.0, figures=figures)


def test_the_load_is_what_servers_say_of_themselves() -> None:
    trainer = Presence(name="trainer:t", at=0.0, ttl=1.0, figures={"busy": 1.0})
    assert load_of([]) == load_of([trainer]) == "alone"
    assert load_of([trainer, serving(busy=0.0)]) == "idle"
    assert load_of([serving(busy=0.0), serving(busy=1.0)]) == "busy"
    assert load_of([serving()]) == "busy", "a server that does not say is not to be disturbed"


def test_slices_are_sized_to_fit_their_limit() -> None:
    clock = [0.0]
    sizing = Sizing(0.05, first=1024, clock=lambda: clock[0])

    def work(seconds_per_row: float) -> None:
        rows = sizing.rows
        with sizing.slice(rows):
            clock[0] += rows * seconds_per_row

    for _ in range(30):
        work(1e-4)  # 500 rows would be the limit
    assert 250 <= sizing.rows <= 500
    assert sizing.rows % GRAIN == 0
    for _ in range(10):
        work(1.0)  # the machine stands still
    assert sizing.rows == GRAIN
    for _ in range(60):
        work(1e-4)
    assert 250 <= sizing.rows <= 500
