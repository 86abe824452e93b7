"""Retraining on demand: from the queue to the gate and out of it."""

from __future__ import annotations

from tests.trainer.scripted import SLOT, House, trace, train_until


def test_a_run_trains_on_what_there_is_and_is_published_through_the_gate(house: House) -> None:
    house.add_static_heads()
    house.write([trace(number) for number in range(400)])
    run = house.registry.request_run(SLOT, "because")
    trainer = house.trainer()
    seen: list[str] = []

    def ended() -> bool:
        seen.append(house.registry.run(run.run_id).state)
        return seen[-1] not in ("queued", "collecting", "training", "judging")

    train_until(trainer, ended)
    assert list(dict.fromkeys(seen)) == ["queued", "training", "judging", "published"]
    assert house.registry.run(run.run_id).version == house.registry.state(SLOT).champion is not None


def test_a_run_without_enough_held_out_conversations_is_rejected_and_says_why(house: House) -> None:
    house.add_static_heads()
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
