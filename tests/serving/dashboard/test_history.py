"""The history: differences of counters, an hour of them at most."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from serving.dashboard.history import History, Sample, ServedSample, ShadowSample, SourceSample, SsdSample, between
from serving.dashboard.reading import Reading, read
from serving.dashboard.sampler import Sampler
from serving.scripted import ScriptedEngine
from tests.serving.dashboard.conftest import Served


def reading(at: float, **figures: Any) -> Reading:
    return Reading(at=at, **figures)


def test_a_sample_is_what_was_counted_between_two_readings() -> None:
    before = reading(
        10.0, tokens=100, drafts=10, draft_tokens=40, accepted=20, positions={0: 8, 1: 4}, steps=12, step_tokens=30,
        sources={("medusa", "v1"): (40, 20)}, shadow={"medusa": (4, 8)}, running=1,
    )  # fmt: skip
    after = reading(
        12.5, tokens=160, drafts=30, draft_tokens=100, accepted=65, positions={0: 22, 1: 10, 2: 3}, steps=40, step_tokens=105,
        sources={("medusa", "v1"): (70, 50), ("medusa", "v2"): (30, 15), ("suffix", "live"): (0, 0)},
        shadow={"medusa": (6, 13), "medusa-static": (2, 3)}, running=3, waiting=2,
    )  # fmt: skip
    assert between(before, after, at=12.5) == Sample(
        at=12.5, seconds=2.5, tokens=60, drafts=20, draft_tokens=60, accepted=45, positions=(14, 6, 3), steps=28, step_tokens=75,
        sources=(SourceSample("medusa", "v1", 30, 30), SourceSample("medusa", "v2", 30, 15)),
        shadow=(ShadowSample("medusa", 2, 5), ShadowSample("medusa-static", 2, 3)), running=3, waiting=2,
    )  # fmt: skip


def test_requests_served_without_drafts_are_sampled_where_there_are_any() -> None:
    without = reading(1, served={"speculated": (100, 1.0)})
    more = reading(2, served={"speculated": (200, 1.5)})
    assert between(without, more, at=2).served == ()
    both = reading(3, served={"speculated": (260, 2.0), "probe": (20, 0.4)})
    assert between(more, both, at=3).served == (ServedSample("speculated", 60, 0.5), ServedSample("probe", 20, 0.4))


def test_a_draft_worker_is_sampled_where_there_is_one() -> None:
    without = reading(1)
    assert between(without, reading(2), at=2).ssd is None
    idle = reading(3, ssd={"hit": (0, 0), "miss": (0, 0)})
    assert between(without, idle, at=3).ssd == SsdSample(0, 0, 0, 0, 0.0, 0.0, 0.0, 0, 0)
    busy = reading(
        4, ssd={"hit": (30, 120), "miss": (10, 12)}, ssd_wait=0.01234, ssd_build=0.5, ssd_idle=0.25, ssd_late=3, ssd_failures=1
    )
    assert between(idle, busy, at=4).ssd == SsdSample(30, 120, 10, 12, 0.0123, 0.5, 0.25, 3, 1)


def test_a_counter_that_began_anew_does_not_run_backwards() -> None:
    sample = between(reading(1, tokens=500, positions={0: 9}), reading(2, tokens=30, positions={0: 4}), at=2)
    assert (sample.tokens, sample.positions) == (30, (4,))


def test_the_first_reading_is_only_compared_with() -> None:
    history = History()
    history.take(reading(5, tokens=1000))
    assert history.since(0) == []
    history.take(reading(7, tokens=1010))
    assert [(sample.at, sample.tokens) for sample in history.since(0)] == [(7, 10)]


def test_only_what_is_newer_is_handed_out() -> None:
    history = History()
    for at in range(6):
        history.take(reading(at, tokens=at * at))
    assert [sample.at for sample in history.since(3)] == [4, 5]
    assert history.since(5) == []


def test_an_hour_is_kept_and_no_more_however_often_it_is_looked_at() -> None:
    history = History(seconds=60, every=2)
    for tenth in range(2000):
        history.take(reading(tenth / 10))
    assert len(history.since(0)) == 30  # by number
    history = History(seconds=60, every=2)
    for at in range(0, 200, 20):
        history.take(reading(at))
    assert [sample.at for sample in history.since(0)] == [120, 140, 160, 180]  # by age


def test_a_clock_that_is_set_back_hides_no_sample() -> None:
    history = History()
    for at in (100, 102, 50, 52):
        history.take(reading(at, tokens=at))
    newest = history.since(0)[0].at
    assert len(history.since(newest)) == 2
    assert all(sample.seconds > 0 for sample in history.since(0))


def test_a_swap_is_marked_at_its_own_time_with_the_version_that_came() -> None:
    history = History()
    history.take(reading(10, versions={"medusa": "v1", "medusa-static": "s"}, num_swaps=1, last_swap_at=3, generation=1))
    history.take(reading(12, versions={"medusa": "v1", "medusa-static": "s"}, num_swaps=1, last_swap_at=3, generation=1))
    assert history.swaps(0) == []
    history.take(reading(14, versions={"medusa": "v2", "medusa-static": "s"}, num_swaps=2, last_swap_at=13.2, generation=2))
    (swap,) = history.swaps(0)
    assert (swap.at, swap.version, swap.generation) == (13.2, "v2", 2)
    assert history.swaps(13.2) == []
    history.take(reading(16, versions={"medusa": "v3", "medusa-static": "s"}, num_swaps=3, last_swap_at=0, generation=3))
    assert history.swaps(14)[0].at == 16  # an engine that does not say when


def test_a_reading_is_what_the_metrics_and_the_engine_count(served: Callable[..., Served]) -> None:
    # steps: 1 token from the prompt, then accepted 2, 0, 3, 1 of drafts of 4, 4, 4, 2, and one plain
    subject, dashboard = served(ScriptedEngine())
    subject.engine.count("decode_steps", 5)
    subject.engine.count("decode_tokens", 11)
    subject.engine.count("shadow_steps:medusa", 7)
    subject.engine.count("shadow_tokens:medusa", 15)
    for name, value in (("rounds:hit", 6), ("tokens:hit", 24), ("rounds:miss", 2), ("tokens:miss", 3), ("wait_seconds", 0.1),
                        ("build_seconds", 0.75), ("idle_seconds", 0.5), ("late", 1), ("failures", 2)):  # fmt: skip
        subject.engine.count(f"ssd_{name}", value)
    subject.engine.count("served_tokens:probe", 9)
    subject.engine.count("served_seconds:probe", 0.5)
    subject.http().post("/v1/completions", json={"prompt": "abc", "max_tokens": 12})
    snapshot = subject.engine.snapshot()
    assert snapshot is not None
    found = read(snapshot, dashboard.service.metrics, 1.0)
    assert (found.tokens, found.drafts, found.draft_tokens, found.accepted) == (12, 4, 14, 6)
    assert found.positions == {0: 3, 1: 2, 2: 1}
    assert found.sources == {("scripted", "v0"): (14, 6)}
    assert (found.steps, found.step_tokens, found.shadow) == (5, 11, {"medusa": (7, 15)})
    assert found.served == {"probe": (9, 0.5)}
    assert found.ssd == {"hit": (6, 24), "miss": (2, 3)}
    assert (found.ssd_wait, found.ssd_build, found.ssd_idle, found.ssd_late, found.ssd_failures) == (0.1, 0.75, 0.5, 1, 2)
    assert found.versions == {"scripted": "v0"}


def test_the_sampler_waits_for_an_engine_that_is_starting(served: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    subject, dashboard = served(ScriptedEngine())
    history = History()
    sampler = Sampler(dashboard.service, history, clock=map(float, range(100)).__next__)
    with monkeypatch.context() as starting:
        starting.setattr(subject.engine, "snapshot", lambda: None)
        sampler.sample()
    sampler.sample()
    assert history.since(0) == []
    sampler.sample()
    assert len(history.since(0)) == 1


def test_samples_are_taken_while_the_server_runs_and_no_longer(served: Callable[..., Served]) -> None:
    _, dashboard = served(ScriptedEngine())
    history = History()
    sampler = Sampler(dashboard.service, history, every=0.001)

    async def run() -> int:
        async with sampler.running():
            while len(history.since(0)) < 3:
                await asyncio.sleep(0.001)
        taken = len(history.since(0))
        await asyncio.sleep(0.02)
        return len(history.since(0)) - taken

    assert asyncio.run(asyncio.wait_for(run(), 10)) == 0
