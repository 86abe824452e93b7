"""What is particular to draft models: what training starts from, and how a version is judged."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.trainer.scripted import SMALL, VOCAB, House, taught, trace, train_until

Build = Callable[..., House]


def test_without_a_draft_for_its_target_it_starts_from_the_targets_embeddings(build_house: Build) -> None:
    house = build_house(kind="draft-lm")
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer()
    train_until(trainer, lambda: trainer.record.progress.num_published >= 1)
    [manifest] = house.registry.versions(house.slot)
    assert (manifest.kind, manifest.parent) == ("draft-lm", None)
    assert manifest.config["hidden_size"] == 128
    assert manifest.config["vocab_size"] == VOCAB


def test_a_version_says_that_it_was_judged_as_a_chain(build_house: Build) -> None:
    house = build_house(kind="draft-lm", lookahead=3)
    house.add_static()
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer()
    train_until(trainer, lambda: trainer.record.progress.num_published >= 1)
    champion = house.registry.state(house.slot).champion
    assert champion is not None
    location = house.registry.location(house.slot, champion)
    checkpoint = house.store.load(location, target=house.slot.target, tokenizer="scripted-tokenizer", kind="draft-lm")
    judged = checkpoint.manifest.evaluation
    assert judged is not None
    assert (judged.form, judged.budget) == ("chain", 3)
    assert 1.0 < judged.tokens_per_step <= 4.0
    assert checkpoint.manifest.config == SMALL.config_for(taught().decoder.config)
    assert {tensor.dtype for tensor in checkpoint.weights.values()} == {torch.bfloat16}


def test_a_canary_that_no_server_can_try_out_waits_to_be_promoted(build_house: Build) -> None:
    house = build_house(kind="draft-lm", promote="canary")
    house.add_static()
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer()
    train_until(trainer, lambda: house.registry.state(house.slot).candidate is not None)
    state = house.registry.state(house.slot)
    assert (state.champion, state.share) == (None, 0.0)
    candidate = state.candidate or ""
    house.registry.promote(house.slot, candidate)
    train_until(trainer, lambda: trainer.record.progress.champion == candidate)


def test_trainers_of_both_kinds_share_a_log_a_registry_and_a_folder(build_house: Build) -> None:
    houses = [build_house(), build_house(kind="draft-lm")]
    for house in houses:
        house.add_static()
    houses[0].write([trace(number) for number in range(400)])
    trainers = [house.trainer() for house in houses]
    for trainer in trainers:
        train_until(trainer, lambda: trainer.record.progress.num_published >= 1)  # noqa: B023
        trainer.save()
    champions = [house.registry.state(house.slot).champion for house in houses]
    assert None not in champions
    assert set(houses[0].registry.slots()) == {house.slot for house in houses}
    again = [house.trainer() for house in houses]
    assert [each.record.progress.champion for each in again] == champions
    assert [each.record.progress.num_steps for each in again] == [each.distiller.num_steps for each in trainers]
