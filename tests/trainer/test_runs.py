"""Retraining on demand: from the queue to the gate and out of it."""

from __future__ import annotations

import time

import pytest

from pipelines.registry import OPEN_STATES, Promotion, Run, RunPlan, SlotState
from speculator.static_heads import KIND
from tests.trainer.scripted import SLOT, TOKENIZER, House, trace, train_until
from trainer.kept import Kept
from trainer.trainer import Trainer


def finished(house: House, run: Run, trainer: Trainer) -> Run:
    """The run after the trainer has done with it."""
    train_until(trainer, lambda: house.registry.run(run.run_id).state not in OPEN_STATES)
    return house.registry.run(run.run_id)


def test_a_run_trains_on_what_there_is_and_is_published_through_the_gate(any_house: House) -> None:
    any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    run = any_house.registry.request_run(any_house.slot, "because")
    trainer = any_house.trainer()
    seen: list[str] = []

    def ended() -> bool:
        seen.append(any_house.registry.run(run.run_id).state)
        return seen[-1] not in ("queued", "collecting", "training", "judging")

    train_until(trainer, ended)
    assert list(dict.fromkeys(seen)) == ["queued", "training", "judging", "champion"]
    assert any_house.registry.run(run.run_id).version == any_house.registry.state(any_house.slot).champion is not None


def test_a_run_without_enough_held_out_conversations_is_rejected_and_says_why(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(10)])  # fewer than it would start with by itself
    run = house.registry.request_run(SLOT, "because")
    trainer = house.trainer()
    train_until(trainer, lambda: house.registry.run(run.run_id).state == "rejected")
    assert house.registry.run(run.run_id).detail.startswith("not enough evidence")
    assert trainer.record.progress.num_steps >= house.settings.min_steps
    assert house.registry.state(SLOT).generation == 0


def test_a_run_waits_for_traffic_where_there_is_none(house: House) -> None:
    run = house.registry.request_run(SLOT, "because")
    trainer = house.trainer()
    train_until(trainer, lambda: house.registry.run(run.run_id).state == "collecting")
    assert house.registry.run(run.run_id).detail == "waiting for traffic"
    house.write([trace(number) for number in range(5)])
    train_until(trainer, lambda: house.registry.run(run.run_id).state == "rejected")


def test_a_run_that_a_killed_trainer_left_is_taken_up_again(house: House) -> None:
    house.write([trace(number) for number in range(10)])
    run = house.registry.request_run(SLOT, "because")
    first = house.trainer()
    train_until(first, lambda: house.registry.run(run.run_id).state == "training")
    second = house.trainer()
    train_until(second, lambda: house.registry.run(run.run_id).state == "rejected")


def test_a_cancelled_run_is_dropped(house: House) -> None:
    house.write([trace(number) for number in range(10)])
    run = house.registry.request_run(SLOT, "because")
    trainer = house.trainer()
    train_until(trainer, lambda: house.registry.run(run.run_id).state == "training")
    house.registry.update_run(run.run_id, "cancelled")
    train_until(trainer, lambda: trainer.state == "collecting")
    assert house.registry.run(run.run_id).state == "cancelled"
    assert trainer.record.progress.num_judgements == 0


@pytest.mark.parametrize(
    ("promote", "end", "share"), [("auto", "champion", 0.0), ("canary", "canary", 0.25), ("manual", "candidate", 0.0)]
)
def test_the_plan_says_how_far_a_version_goes_that_passes(house: House, promote: Promotion, end: str, share: float) -> None:
    static = house.add_static()
    house.write([trace(number) for number in range(400)])
    run = house.registry.request_run(SLOT, "because", plan=RunPlan(promote=promote))
    done = finished(house, run, house.trainer())
    state = house.registry.state(SLOT)
    assert (done.state, state.share) == (end, share)
    assert done.version == (state.champion if promote == "auto" else state.candidate)
    assert house.registry.manifest(SLOT, done.version or "").parent == static


def test_a_version_that_nobody_may_promote_is_only_recorded(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(400)])
    run = house.registry.request_run(SLOT, "because", plan=RunPlan(promote="never"))
    trainer = house.trainer()
    done = finished(house, run, trainer)
    assert (done.state, house.registry.state(SLOT)) == ("candidate", SlotState())
    assert trainer.record.progress.num_published == 0
    assert house.store.load(house.registry.location(SLOT, done.version or ""), target=SLOT.target, tokenizer=TOKENIZER, kind=KIND)


def test_while_a_canary_serves_nobody_is_judged_and_what_it_came_to_is_followed(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(400)])
    run = house.registry.request_run(SLOT, "because", plan=RunPlan(promote="canary"))
    trainer = house.trainer()
    first = finished(house, run, trainer).version or ""
    house.write([trace(number) for number in range(400, 800)])
    slices = trainer.work()
    for _ in range(600):
        next(slices)
    assert trainer.record.progress.num_judgements == 1
    assert trainer.record.progress.parent == first
    house.registry.withdraw(SLOT, detail="slower")
    train_until(trainer, lambda: trainer.record.progress.parent != first)
    assert house.registry.run(run.run_id).state == "rolled_back"
    train_until(trainer, lambda: trainer.record.progress.num_judgements > 1)


def test_a_promoted_canary_is_the_champion_that_training_goes_on_from(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(400)])
    run = house.registry.request_run(SLOT, "because", plan=RunPlan(promote="canary"))
    trainer = house.trainer()
    version = finished(house, run, trainer).version or ""
    age = trainer.record.progress.age
    house.registry.promote(SLOT, version)
    train_until(trainer, lambda: trainer.record.progress.champion == version)
    assert trainer.record.progress.age >= age, "not started again"
    assert house.registry.run(run.run_id).state == "champion"


def test_a_run_is_judged_after_as_many_steps_as_it_was_given(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(400)])
    run = house.registry.request_run(SLOT, "because", plan=RunPlan(max_steps=7))
    trainer = house.trainer()
    train_until(trainer, lambda: house.registry.run(run.run_id).state == "judging")
    assert trainer.record.progress.num_steps == 7 < house.settings.min_steps


@pytest.mark.parametrize("where", ["since", "from_position"])
def test_a_run_studies_only_what_it_was_asked_to(house: House, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write([trace(number, finished_at=1000.0) for number in range(200)])
    house.write([trace(number, finished_at=2000.0) for number in range(200, 300)])
    plan = RunPlan(since=1500.0) if where == "since" else RunPlan(from_position={0: 200})
    house.registry.request_run(SLOT, "because", plan=plan)
    trainer = house.trainer()
    read: list[Kept] = []
    study = trainer._study._read
    monkeypatch.setattr(trainer._study, "_read", lambda each: read.append(each) or study(each))
    train_until(trainer, lambda: trainer.record.progress.num_steps >= 5)
    assert {each.trace.finished_at for each in read} == {2000.0}


def test_a_run_for_which_there_is_no_trace_yet_waits(house: House) -> None:
    house.write([trace(number) for number in range(100)])
    run = house.registry.request_run(SLOT, "because", plan=RunPlan(since=time.time() + 3600))
    trainer = house.trainer()
    train_until(trainer, lambda: house.registry.run(run.run_id).state == "collecting")
    assert trainer.record.progress.num_steps == 0


def test_a_full_run_starts_from_the_static_weights_and_goes_back_to_the_champion_if_turned_away(any_house: House) -> None:
    static = any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    trainer = any_house.trainer()
    champion = finished(any_house, any_house.registry.request_run(any_house.slot, "because"), trainer).version
    full = any_house.registry.request_run(any_house.slot, "because", plan=RunPlan(mode="full", max_steps=5))
    train_until(trainer, lambda: trainer.record.progress.parent == static)
    assert trainer.record.progress.age < 5
    assert finished(any_house, full, trainer).state == "rejected"
    train_until(trainer, lambda: trainer.record.progress.parent == champion)


def test_a_paused_trainer_rests_and_then_does_what_was_asked(house: House) -> None:
    house.write([trace(number) for number in range(100)])
    house.registry.switch(SLOT, "training", False)
    run = house.registry.request_run(SLOT, "because")
    trainer = house.trainer()
    train_until(trainer, lambda: trainer.state == "paused")
    slices = trainer.work()
    assert not any(next(slices) for _ in range(200) if trainer.record.feed.num_read == 100)
    assert (trainer.record.progress.num_steps, trainer.record.feed.num_read) == (0, 100), "it reads along"
    house.registry.switch(SLOT, "training", True)
    assert finished(house, run, trainer).state == "rejected"
