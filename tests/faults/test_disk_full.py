"""A disk that takes no more checkpoints: nothing is published by halves, the trainer says so, learns on, and publishes later."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.registry import OPEN_STATES
from tests.faults.slow_redis import DistantRedis
from tests.faults.test_registry_away import Schooling
from tests.trainer.scripted import SLOT, trace, train_until


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond a few hundred bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Schooling]:
    """With its registry on Redis, which has a disk of its own."""
    redis = DistantRedis(tmp_path / "redis")
    made = Schooling(tmp_path, redis.url)
    yield made
    made.close()
    redis.close()


def test_a_full_disk_fails_the_run_and_nothing_else(house: Schooling, caplog: pytest.LogCaptureFixture) -> None:
    house.add_static()
    house.write([trace(number) for number in range(400)])
    run = house.registry.request_run(SLOT, "because")
    trainer = house.trainer()
    train_until(trainer, lambda: trainer.state == "judging")
    with full_disk():
        train_until(trainer, lambda: house.registry.run(run.run_id).state not in OPEN_STATES)
        with pytest.raises(OSError, match="File too large"):
            trainer.save()
    assert house.registry.run(run.run_id).state == "failed"
    assert house.registry.state(SLOT).champion is None
    assert "publishing failed" in caplog.text
    assert not list(Path(house.settings.checkpoints).glob("**/*.tmp*")), "no halves are left"
    again = house.registry.request_run(SLOT, "there is room again")
    train_until(trainer, lambda: house.registry.run(again.run_id).state not in OPEN_STATES)
    assert house.registry.run(again.run_id).state == "champion"
    trainer.save()
