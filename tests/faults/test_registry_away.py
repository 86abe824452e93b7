"""The registry's faults, against a real Redis: away, empty, slow; and clocks that jump. Nobody stops serving or learning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipelines.errors import Superseded
from pipelines.registry import OPEN_STATES, RunPlan, open_registry
from tests.faults.slow_redis import DistantRedis
from tests.serving.test_swap import SLOT
from tests.serving.test_trials import House as Replica
from tests.trainer.scripted import SLOT as TAUGHT
from tests.trainer.scripted import House as Learning
from tests.trainer.scripted import trace, train_until
from tests.trainer.test_publish import PASSED
from tests.wait import wait_until

NUM_REPLICAS = 5


class Fleet:
    """Five replicas of one registry and one store."""

    def __init__(self, folder: Path, redis: DistantRedis) -> None:
        self.redis = redis
        names = [f"replica-{number}" for number in range(NUM_REPLICAS)]
        self.replicas = [Replica(folder, name=name, url=redis.url, interval=0.25) for name in names]
        self.first = self.replicas[0]
        for each in self.replicas:
            each.engine.swap.start()

    def publish(self, seed: int) -> str:
        """A new champion."""
        version = self.first.record(seed)
        self.first.registry.promote(SLOT, version)
        return version

    def all_serve(self, version: str) -> bool:
        for each in self.replicas:
            each.engine.take_newer()
        return all(each.engine.speculator.versions["medusa"] == version for each in self.replicas)

    def seconds_until_all_serve(self, version: str) -> float:
        started = time.monotonic()
        wait_until(lambda: self.all_serve(version))
        return time.monotonic() - started

    def ask(self) -> list[str]:
        return sorted({version for each in self.replicas for version in each.ask(2)})

    def close(self) -> None:
        for each in self.replicas:
            each.engine.swap.stop()
            each.registry.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[DistantRedis]:
    made = DistantRedis(tmp_path / "redis")
    yield made
    made.close()


@pytest.fixture
def fleet(tmp_path: Path, redis: DistantRedis) -> Iterator[Fleet]:
    made = Fleet(tmp_path, redis)
    yield made
    made.close()


def test_a_swap_reaches_every_replica_at_once(fleet: Fleet) -> None:
    for seed in (1, 2, 3):
        assert fleet.seconds_until_all_serve(fleet.publish(seed)) < 2.0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [30.0])
def test_with_redis_killed_for_a_while_everybody_serves_on_and_takes_up_what_comes_after(
    fleet: Fleet, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    before = fleet.publish(1)
    fleet.seconds_until_all_serve(before)
    fleet.redis.server.kill()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert fleet.ask() == [before]
        time.sleep(0.2)
    assert "registry redis://" in caplog.text
    fleet.redis.server.start()
    wait_until(lambda: fleet.first.registry.state(SLOT).champion == before)
    assert fleet.seconds_until_all_serve(fleet.publish(2)) < 5.0


def test_a_redis_that_comes_back_empty_takes_no_version_out_of_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    redis = DistantRedis(tmp_path / "redis", persistent=False)
    fleet = Fleet(tmp_path, redis)
    with ExitStack() as closing:
        closing.callback(redis.close)
        closing.callback(fleet.close)
        version = fleet.publish(1)
        fleet.seconds_until_all_serve(version)
        redis.server.kill()
        redis.server.start()
        wait_until(lambda: "has lost all versions" in caplog.text)
        assert fleet.ask() == [version]
        assert version in caplog.text
        assert fleet.seconds_until_all_serve(fleet.publish(2)) < 5.0


def test_with_redis_slow_nobody_waits_for_it(fleet: Fleet) -> None:
    before = fleet.publish(1)
    fleet.seconds_until_all_serve(before)
    fleet.redis.line.delay = 2.0
    started = time.monotonic()
    assert fleet.ask() == [before]
    assert time.monotonic() - started < 2.0, "no answer waited for the registry"
    fleet.redis.line.delay = 0.0
    fleet.seconds_until_all_serve(fleet.publish(2))


class Schooling(Learning):
    """A scripted trainer whose registry is on Redis."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        self.registry.close()
        self.registry = open_registry(url)


@pytest.fixture
def schooling(tmp_path: Path, redis: DistantRedis) -> Iterator[Schooling]:
    made = Schooling(tmp_path, redis.url)
    yield made
    made.close()


def test_a_trainer_makes_a_registry_anew_that_has_lost_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    redis = DistantRedis(tmp_path / "redis", persistent=False)
    house = Schooling(tmp_path, redis.url)
    with ExitStack() as closing:
        closing.callback(redis.close)
        closing.callback(house.close)
        static = house.add_static()
        house.write([trace(number) for number in range(400)])
        run = house.registry.request_run(TAUGHT, "because")
        trainer = house.trainer()
        train_until(trainer, lambda: house.registry.run(run.run_id).state not in OPEN_STATES)
        champion = house.registry.state(TAUGHT).champion
        assert champion not in (None, static)
        redis.server.kill()
        redis.server.start()
        train_until(trainer, lambda: house.registry.state(TAUGHT).champion == champion)
        assert [each.version for each in house.registry.versions(TAUGHT)] == [static, champion]
        assert trainer.record.progress.parent == champion, "training went on"
        assert "made anew" in caplog.text


def test_a_rolled_back_version_stays_out_of_a_registry_that_is_made_anew(tmp_path: Path) -> None:
    redis = DistantRedis(tmp_path / "redis", persistent=False)
    house = Schooling(tmp_path, redis.url)
    with ExitStack() as closing:
        closing.callback(redis.close)
        closing.callback(house.close)
        static = house.add_static()
        house.write([trace(number) for number in range(400)])
        run = house.registry.request_run(TAUGHT, "because")
        trainer = house.trainer()
        train_until(trainer, lambda: house.registry.run(run.run_id).state not in OPEN_STATES)
        house.registry.rollback(TAUGHT)
        train_until(trainer, lambda: trainer.record.progress.champion == static)
        redis.server.kill()
        redis.server.start()
        train_until(trainer, lambda: house.registry.state(TAUGHT).generation > 0)
        assert house.registry.state(TAUGHT).champion == static


def test_training_goes_on_while_redis_is_away_and_publishes_when_it_is_back(schooling: Schooling, redis: DistantRedis) -> None:
    schooling.add_static()
    schooling.write([trace(number) for number in range(400)])
    run = schooling.registry.request_run(TAUGHT, "because", plan=RunPlan(max_steps=200))
    trainer = schooling.trainer()
    train_until(trainer, lambda: trainer.record.progress.num_steps >= 5)
    redis.server.kill()
    train_until(trainer, lambda: "registry" in trainer.away)
    steps = trainer.record.progress.num_steps
    train_until(trainer, lambda: trainer.record.progress.num_steps >= steps + 5)
    redis.server.start()
    train_until(trainer, lambda: "registry" not in trainer.away and schooling.registry.run(run.run_id).state not in OPEN_STATES)
    assert schooling.registry.run(run.run_id).state == "champion"


def test_a_trainer_paused_past_its_lease_publishes_nothing_over_its_successor(
    schooling: Schooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.lead.TTL", 0.3)
    schooling.add_static()
    schooling.write([trace(number) for number in range(400)])
    schooling.registry.request_run(TAUGHT, "because", plan=RunPlan(max_steps=10))
    paused = schooling.trainer()
    train_until(paused, lambda: paused.state == "judging")
    time.sleep(0.5)
    assert schooling.registry.lead(TAUGHT, "its successor", 60.0) == 2
    before = schooling.registry.state(TAUGHT)
    review = paused._review
    candidate = review._candidate()
    assert candidate is not None
    with pytest.raises(Superseded):
        review._publisher.publish(candidate, PASSED, before.generation)
    train_until(paused, lambda: paused.state == "waiting: another trainer leads")
    assert schooling.registry.state(TAUGHT) == before


def test_a_clock_that_jumps_stops_nobody(fleet: Fleet, schooling: Schooling, monkeypatch: pytest.MonkeyPatch) -> None:
    schooling.add_static()
    schooling.write([trace(number) for number in range(400)])
    trainer = schooling.trainer()
    train_until(trainer, lambda: trainer.record.progress.num_steps >= 3)
    true_time, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: true_time() + jump[0])
    for seed, seconds in enumerate((3600.0, -3600.0, 86400.0 * 365, 0.0), start=1):
        jump[0] = seconds
        assert fleet.seconds_until_all_serve(fleet.publish(seed)) < 5.0
        steps = trainer.record.progress.num_steps
        train_until(trainer, lambda: trainer.record.progress.num_steps > steps)  # noqa: B023
    assert trainer.state != "waiting: another trainer leads"
