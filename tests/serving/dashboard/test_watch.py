"""Looking at the registry: rarely, completely, and without waiting for one that is away."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pipelines.errors import RegistryUnavailable
from pipelines.registry import Slot
from pipelines.sqlite_registry import SqliteRegistry
from serving.dashboard.slot_reader import SlotReader
from serving.dashboard.watch import RegistryWatch, Sight
from tests.pipelines.records import make_manifest
from tests.serving.dashboard.story import SLOT, story_registry

T = TypeVar("T")
OTHER = Slot(target="target-2", kind="medusa")


class Counted:
    """A registry whose calls are counted, and which is away, slow or broken when told so."""

    def __init__(self, registry: SqliteRegistry) -> None:
        self.registry = registry
        self.calls: Counter[str] = Counter()
        self.away = ""
        """The call that fails; `*`: each."""
        self.fault: Exception = RegistryUnavailable("no route to host")
        self.gate = threading.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.calls[name] += 1
            assert self.gate.wait(20)
            if self.away in (name, "*"):
                raise self.fault
            return getattr(self.registry, name)(*args, **options)

        return call


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry(tmp_path: Path) -> Counted:
    return Counted(story_registry(tmp_path))


def run(story: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(asyncio.wait_for(story(), 20))


def test_the_second_look_brings_only_what_is_new(registry: Counted) -> None:
    reader = SlotReader(registry, SLOT)  # type: ignore[arg-type]
    first = reader.look()
    assert [event.action for event in first.events][-2:] == ["published", "staged"]
    assert first.versions is not None
    assert first.versions.num_in_all == 8
    second = reader.look()
    assert (second.events, second.versions, second.anew) == ([], None, False)
    registry.registry.rollback(SLOT, detail="slow")
    third = reader.look()
    assert [event.action for event in third.events] == ["quarantined", "quarantined", "rolled_back"]
    assert third.versions is not None
    assert [each.stage for each in third.versions.shown].count("rolled_back") == 3


def test_a_look_at_which_nothing_happened_costs_four_calls(registry: Counted) -> None:
    reader = SlotReader(registry, SLOT)  # type: ignore[arg-type]
    reader.look()
    registry.calls.clear()
    reader.look()
    assert registry.calls == {"events": 1, "state": 1, "runs": 1, "presences": 1}


def test_other_slots_are_left_out(registry: Counted) -> None:
    reader = SlotReader(registry, SLOT)  # type: ignore[arg-type]
    reader.look()
    registry.registry.publish(OTHER, make_manifest("w", target=OTHER.target), "w", expected_generation=0)
    run_id = registry.registry.request_run(OTHER, "theirs").run_id
    look = reader.look()
    assert look.events == []
    assert run_id not in {each.run_id for each in look.slot.runs}
    registry.registry.switch(SLOT, "training", False)
    assert [event.action for event in reader.look().events] == ["training_off"]


def test_many_events_are_all_read(registry: Counted) -> None:
    for _ in range(600):
        registry.registry.switch(SLOT, "training", False)
        registry.registry.switch(SLOT, "training", True)
    look = SlotReader(registry, SLOT).look()  # type: ignore[arg-type]
    assert len(look.events) == 300
    assert look.events[-1].action == "training_on"
    assert [each.id for each in look.events] == sorted(each.id for each in look.events)


def test_a_look_that_fails_halfway_loses_no_event(registry: Counted) -> None:
    reader = SlotReader(registry, SLOT)  # type: ignore[arg-type]
    reader.look()
    registry.registry.switch(SLOT, "training", False)
    registry.away = "runs"
    with pytest.raises(RegistryUnavailable):
        reader.look()
    registry.away = ""
    look = reader.look()
    assert [event.action for event in look.events] == ["training_off"]
    assert look.versions is not None


def test_a_registry_that_was_made_anew_is_read_from_its_start(registry: Counted, tmp_path: Path) -> None:
    reader = SlotReader(registry, SLOT)  # type: ignore[arg-type]
    reader.look()
    registry.registry = SqliteRegistry(tmp_path / "other.db")
    empty = reader.look()
    assert (empty.anew, empty.events) == (True, [])
    assert empty.versions is not None
    assert empty.versions.shown == []
    registry.registry.switch(SLOT, "training", False)
    assert [event.action for event in reader.look().events] == ["training_off"]


def test_many_pages_make_one_look_a_second(registry: Counted) -> None:
    clock = Clock()
    watch = RegistryWatch(registry, clock)  # type: ignore[arg-type]

    async def story() -> None:
        sights = await asyncio.gather(*(watch.sight(SLOT) for _ in range(20)))
        assert all(sight.slot is not None for sight in sights)
        assert registry.calls["state"] == 1
        clock.now += 0.5
        await watch.sight(SLOT)
        assert registry.calls["state"] == 1
        clock.now += 0.5
        await watch.sight(SLOT)
        assert registry.calls["state"] == 2

    run(story)


def test_while_it_is_away_what_was_there_stays_and_says_since_when(registry: Counted) -> None:
    clock = Clock()
    watch = RegistryWatch(registry, clock)  # type: ignore[arg-type]

    async def story() -> None:
        await watch.sight(SLOT)
        registry.away = "*"
        for _ in range(3):
            clock.now += 10
            sight = await watch.sight(SLOT)
            assert sight.away_since == 1010.0
            assert sight.problem == "no route to host"
            assert sight.slot is not None
            assert sight.versions is not None
        registry.away = ""
        clock.now += 10
        sight = await watch.sight(SLOT)
        assert (sight.away_since, sight.problem) == (None, "")

    run(story)


def test_a_registry_that_hangs_keeps_nobody_waiting_and_is_away_after_three_seconds(registry: Counted) -> None:
    clock = Clock()
    watch = RegistryWatch(registry, clock)  # type: ignore[arg-type]

    async def story() -> None:
        await watch.sight(SLOT)
        registry.gate.clear()
        clock.now += 1
        assert (await asyncio.wait_for(watch.sight(SLOT), 5)).away_since is None
        clock.now += 4
        sight: Sight = await asyncio.wait_for(watch.sight(SLOT), 5)
        assert sight.away_since == 1001.0
        assert registry.calls["events"] == 3  # two of the first look, and the one that hangs
        registry.gate.set()
        while sight.away_since is not None:
            sight = await watch.sight(SLOT)
            await asyncio.sleep(0.001)

    run(story)


def test_what_comes_to_light_during_a_slow_look_is_newer_than_what_was_answered_meanwhile(registry: Counted) -> None:
    clock = Clock()
    watch = RegistryWatch(registry, clock)  # type: ignore[arg-type]

    async def story() -> None:
        await watch.sight(SLOT)
        registry.registry.switch(SLOT, "training", False)
        registry.gate.clear()
        clock.now = 1002.0
        await watch.sight(SLOT)
        clock.now = 1004.0  # a page is answered with a sample of this time
        registry.gate.set()
        while (await watch.sight(SLOT)).events[-1][1].action != "training_off":
            await asyncio.sleep(0.001)
        assert (await watch.sight(SLOT)).events[-1][0] >= 1004.0

    run(story)


def test_a_fault_of_ours_is_shown_as_such_and_logged(registry: Counted, caplog: pytest.LogCaptureFixture) -> None:
    watch = RegistryWatch(registry, Clock())  # type: ignore[arg-type]
    registry.away, registry.fault = "*", KeyError("oops")
    sight = run(lambda: watch.sight(SLOT))
    assert sight.away_since == 1000.0
    assert "its log says why" in sight.problem
    assert "oops" in caplog.text
