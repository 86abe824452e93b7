"""Two trainers of one slot: one trains, the other waits, and takes over when the first is gone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.errors import Superseded
from tests.trainer.scripted import SLOT, TOKENIZER, House, trace
from tests.trainer.test_publish import PASSED, candidate
from trainer.lead import TTL, Lead, lead_name
from trainer.publish import Publisher


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lead_is_renewed_well_before_it_lapses_and_no_more_often(house: House) -> None:
    clock, asked = Clock(), []
    lead = Lead(house.registry, SLOT, "ours", clock=clock)
    original = house.registry.lead
    house.registry.lead = lambda *given: asked.append(clock.now) or original(*given)  # type: ignore[method-assign, func-returns-value]
    while clock.now < 2 * TTL:
        lead.keep()
        clock.now += 0.5
    assert lead.held
    assert all(later - earlier <= TTL / 2 for earlier, later in pairwise(asked))
    assert len(asked) <= 7


def test_a_trainer_that_does_not_lead_trains_nobody_and_takes_over_when_the_lead_is_given_up(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(50)])
    assert house.registry.lead(SLOT, "somebody else", 60.0)
    trainer = house.trainer()
    work = trainer.work()
    for _ in range(20):
        next(work)
    assert trainer.record.progress.num_steps == 0
    assert trainer.record.feed.num_read == 50, "it reads along"
    assert trainer.state == "waiting: another trainer leads"
    house.registry.resign(SLOT, "somebody else")
    for _ in range(3000):
        next(work)
        if trainer.record.progress.num_steps:
            break
    assert trainer.record.progress.num_steps > 0


def test_a_trainer_started_again_need_not_wait_for_itself(house: House, tmp_path: Path) -> None:
    name = lead_name("trainer", tmp_path / "state")
    assert house.registry.lead(SLOT, name, TTL) == 1
    assert Lead(house.registry, SLOT, lead_name("trainer", tmp_path / "state")).held is False
    again = Lead(house.registry, SLOT, lead_name("trainer", tmp_path / "state"))
    again.keep()
    assert again.fence == 1
    assert lead_name("trainer", tmp_path / "elsewhere") != name


def test_what_a_trainer_publishes_shows_its_fence(house: House) -> None:
    lead = Lead(house.registry, SLOT, "ours")
    lead.keep()
    publisher = Publisher(house.registry, house.store, SLOT, TOKENIZER, budget=16, static=None, fence=lambda: lead.fence)
    house.registry.resign(SLOT, "ours")
    assert house.registry.lead(SLOT, "theirs", 60.0) == 2
    with pytest.raises(Superseded):
        publisher.publish(candidate(1.0), PASSED, 0)
    assert house.registry.state(SLOT).champion is None
