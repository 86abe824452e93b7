"""The loop in miniature: traces in, weights of any kind learn, the gate decides, the registry has a champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from models.hydra import HydraHeads
from pipelines.checkpoint import Checkpoint, Manifest, TrafficSpan
from pipelines.errors import LogUnavailable, RegistryUnavailable
from pipelines.registry import Registry, SlotState
from pipelines.traffic_log import TrafficReader
from speculator.simulate import Simulated
from speculator.static_draft import draft_model
from speculator.static_eagle import served_layer
from speculator.static_heads import served_heads
from tests.trainer.scripted import GREEDY, SLOT, TARGET, TOKENIZER, VOCAB, House, taught, trace, train_until, untrained, weights
from trainer.chain_drafter import ChainDrafter
from trainer.eagle_drafter import EagleDrafter
from trainer.heads_drafter import HeadsDrafter
from trainer.in_training import MAX_SKIPPED
from trainer.judge import Drafter
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.slicing import finish
from trainer.teacher import LessonCache, ReplayTeacher
from trainer.trainer import Trainer


def worth(house: House, version: str) -> float:
    """Tokens per step that a version brings on traffic nobody has seen, with three nodes."""
    location = house.registry.location(house.slot, version)
    checkpoint = house.store.load(location, target=TARGET, tokenizer=TOKENIZER, kind=house.slot.kind)
    drafter = {"draft-lm": of_draft, "eagle": of_layer}.get(house.slot.kind, of_heads)(checkpoint)
    fresh = [Kept.of(number, trace(number, sampling=GREEDY)) for number in range(50_000, 50_040)]
    return sum((finish(drafter.steps(each)) for each in fresh), Simulated()).tokens_per_step


def of_heads(checkpoint: Checkpoint) -> Drafter:
    heads = served_heads(checkpoint.manifest.kind, checkpoint, taught().decoder)
    lessons = LessonCache(ReplayTeacher(taught().decoder, Sizing(1.0)), 1 << 20)
    return HeadsDrafter(heads, lessons, taught().unembed, budget=3, sizing=Sizing(1.0))


def of_draft(checkpoint: Checkpoint) -> Drafter:
    return ChainDrafter(draft_model(checkpoint), lookahead=3, sizing=Sizing(1.0))


def of_layer(checkpoint: Checkpoint) -> Drafter:
    layer = served_layer(checkpoint, taught().decoder)
    lessons = LessonCache(ReplayTeacher(taught().decoder, Sizing(1.0), layer.layers), 1 << 20)
    return EagleDrafter(layer, lessons, taught(), lookahead=3)


def published(trainer: Trainer, times: int = 1) -> Callable[[], bool]:
    return lambda: trainer.record.progress.num_published >= times


def test_traffic_comes_in_and_better_drafts_come_out(any_house: House) -> None:
    static = any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    trainer = any_house.trainer()
    train_until(trainer, published(trainer))
    state = any_house.registry.state(any_house.slot)
    assert (state.generation, state.previous) == (1, None)
    assert state.champion is not None
    manifest = any_house.registry.manifest(any_house.slot, state.champion)
    assert manifest.parent == static
    assert manifest.evaluation is not None
    assert manifest.evaluation.num_conversations >= 64
    assert manifest.evaluation.gain_lower > 0
    assert 0 < manifest.span.num_traces <= 400 - 64
    assert worth(any_house, state.champion) > 2 * worth(any_house, static)


def test_a_slot_without_any_heads_starts_from_untrained_ones(house: House) -> None:
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer()
    train_until(trainer, published(trainer))
    [manifest] = house.registry.versions(SLOT)
    assert manifest.parent is None
    assert manifest.config["num_heads"] == 4


def test_after_a_rollback_training_starts_again_from_the_champion(any_house: House) -> None:
    static = any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    trainer = any_house.trainer()
    train_until(trainer, published(trainer))
    learnt = any_house.registry.state(any_house.slot).champion
    assert trainer.record.progress.parent == learnt
    any_house.registry.rollback(any_house.slot)
    train_until(trainer, lambda: trainer.record.progress.generation == 2)
    assert trainer.record.progress.parent == static
    assert trainer.record.progress.champion == static
    assert trainer.distiller.age < 5
    before = any_house.static_weights()
    assert all((weight - before[name]).abs().max() < 0.3 for name, weight in weights(trainer).items())


def test_a_champion_that_makes_no_model_is_refused_by_a_trainer_that_trains_on(any_house: House) -> None:
    static = any_house.add_static()
    config, tensors = untrained(any_house.slot.kind)
    name, tensor = next(iter(tensors.items()))
    manifest, location = any_house.store.save(
        {**tensors, name: tensor[..., :-1]},
        kind=any_house.slot.kind,
        parent=static,
        target=TARGET,
        tokenizer=TOKENIZER,
        config=config,
        created_at=2.0,
    )
    any_house.registry.publish(any_house.slot, manifest, location, expected_generation=0)
    any_house.write([trace(number) for number in range(60)])
    for _ in range(2):  # and again, after a restart
        trainer = any_house.trainer()
        train_until(trainer, lambda: trainer.distiller.num_steps >= 2)  # noqa: B023
        assert (trainer.record.progress.champion, trainer.record.progress.parent) == (manifest.version, static)
        trainer.save()


def test_traces_judged_on_before_a_publication_are_not_judged_on_again(any_house: House) -> None:
    any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    trainer = any_house.trainer()
    train_until(trainer, published(trainer))
    champion = any_house.registry.state(any_house.slot).champion
    assert champion is not None
    through = any_house.registry.manifest(any_house.slot, champion).span.position
    assert through == {0: 400}, "everything read is used up, what was held out too"
    assert trainer.num_conversations == 0
    assert trainer.record.progress.looks == 0


def test_killed_between_publishing_and_saving_it_takes_its_own_publication_for_what_it_is(any_house: House) -> None:
    any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    first = any_house.trainer()
    train_until(first, lambda: first.distiller.num_steps >= 40)
    first.save()
    train_until(first, published(first))
    second = any_house.trainer()  # of the publication it knows nothing
    assert second.record.progress.num_published == 0
    train_until(second, lambda: second.distiller.num_steps >= 45)
    state = any_house.registry.state(any_house.slot)
    assert (second.record.progress.champion, second.record.progress.generation) == (state.champion, 1)
    assert second.num_conversations == 0, "what the publication was judged on proves nothing any more"
    assert second.record.feed.num_read == 400
    any_house.write([trace(number) for number in range(400, 800)])
    train_until(second, lambda: second.record.progress.num_judgements == 1)
    [*_, latest] = any_house.registry.versions(any_house.slot)
    assert latest.evaluation is not None
    assert latest.evaluation.champion_tokens_per_step > 2, "judged against the publication, not against the static heads"


class Rival:
    """A registry at which somebody else publishes just before the trainer does, once."""

    def __init__(self, inner: Registry, house: House) -> None:
        self._inner = inner
        self._house = house
        self.version: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def publish(self, *args: Any, **values: Any) -> SlotState:
        if self.version is None:
            manifest, location = half_trained(self._house)
            self.version = manifest.version
            self._inner.publish(SLOT, manifest, location, expected_generation=0)
        return self._inner.publish(*args, **values)


def half_trained(house: House, parent: str | None = None, strength: float = 6.0) -> tuple[Manifest, str]:
    """Heads that know half of the chain."""
    heads = HydraHeads(VOCAB, 3, VOCAB, torch.eye(VOCAB))
    with torch.no_grad():
        heads.read.zero_()
        for token in range(VOCAB // 2):  # the state that chooses the token after this one is this one's embedding
            heads.read[VOCAB + token, token] = heads.write[token, token] = strength**0.5
    return house.store.save(
        dict(heads.named_parameters()),
        kind=SLOT.kind,
        parent=parent,
        target=TARGET,
        tokenizer=TOKENIZER,
        config=heads.config,
        created_at=2.0,
        span=TrafficSpan(),
    )


def test_a_candidate_overtaken_by_a_rival_is_judged_against_the_rival(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(400)])
    rival = Rival(house.registry, house)
    trainer = house.trainer(registry=cast(Registry, rival))
    train_until(trainer, published(trainer))
    state = house.registry.state(SLOT)
    assert (state.generation, state.previous) == (2, rival.version)
    assert state.champion is not None
    evaluation = house.registry.manifest(SLOT, state.champion).evaluation
    assert evaluation is not None
    assert evaluation.champion_tokens_per_step > 1.5, "the rival's figure; that of untrained heads is 1.36"
    assert trainer.record.progress.num_judgements == 1


class RolledBack(Rival):
    """A registry whose champion is rolled back just before the trainer publishes."""

    def publish(self, *args: Any, **values: Any) -> SlotState:
        if self._inner.state(SLOT).generation == 2:
            self._inner.rollback(SLOT)
        return self._inner.publish(*args, **values)


def test_a_candidate_whose_parent_is_rolled_back_under_it_is_not_published(house: House) -> None:
    sound = half_trained(house, strength=3.0)
    house.registry.publish(SLOT, *sound, expected_generation=0)
    house.registry.publish(SLOT, *half_trained(house, parent=sound[0].version), expected_generation=1)
    house.write([trace(number) for number in range(400)])
    trainer = house.trainer(registry=cast(Registry, RolledBack(house.registry, house)))
    train_until(trainer, lambda: trainer.record.progress.num_judgements == 1)
    state = house.registry.state(SLOT)
    assert (state.champion, state.generation) == (sound[0].version, 3)
    assert trainer.record.progress.parent == sound[0].version
    assert trainer.record.progress.num_published == 0
    assert len(house.registry.versions(SLOT)) == 2, "weights that have not moved are not put before the gate"


def test_weights_that_are_not_finite_are_skipped_counted_and_given_up(any_house: House) -> None:
    any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    trainer = any_house.trainer()
    train_until(trainer, lambda: trainer.distiller.num_steps >= 3)
    with torch.no_grad():
        next(iter(weights(trainer).values())).view(-1)[0] = torch.nan
    train_until(trainer, lambda: trainer.record.progress.num_skipped >= MAX_SKIPPED)
    assert trainer.distiller.num_steps == 3
    train_until(trainer, published(trainer))
    state = any_house.registry.state(any_house.slot)
    assert state.champion is not None
    assert worth(any_house, state.champion) > 2


def test_a_running_mean_that_is_not_finite_never_leaves_the_process(any_house: House) -> None:
    any_house.add_static()
    any_house.write([trace(number) for number in range(400)])
    trainer = any_house.trainer()
    train_until(trainer, lambda: trainer.distiller.num_steps >= 49)
    next(tensor for name, tensor in trainer.distiller.tensors().items() if name.startswith("mean.")).fill_(torch.inf)
    train_until(trainer, lambda: trainer.record.progress.num_judgements == 1)
    assert any_house.registry.state(any_house.slot).generation == 0
    assert any_house.registry.versions(any_house.slot) == []
    assert all(torch.isfinite(weight).all() for weight in trainer.distiller.averaged().values())


class Flaky:
    """A pipe that is away for the next `left` calls."""

    def __init__(self, inner: Any, error: Exception, times: int) -> None:
        self._inner = inner
        self._error = error
        self.left = times

    def __getattr__(self, name: str) -> Any:
        if self.left > 0:
            self.left -= 1
            raise self._error
        return getattr(self._inner, name)


def test_without_the_registry_it_waits_for_a_first_look_and_later_trains_on_without_one(house: House) -> None:
    house.add_static()
    house.write([trace(number) for number in range(400)])
    flaky = Flaky(house.registry, RegistryUnavailable("gone"), 5)
    trainer = house.trainer(registry=cast(Registry, flaky))
    train_until(trainer, lambda: trainer.state == "waiting for the registry")
    train_until(trainer, lambda: trainer.distiller.num_steps == 10)
    flaky.left = 10**9
    train_until(trainer, lambda: trainer.distiller.num_steps == 90)
    assert trainer.away == {"registry": "gone"}
    assert trainer.record.progress.looks == 0, "nothing is judged that could not be published"
    flaky.left = 0
    train_until(trainer, published(trainer))


def test_without_the_log_it_trains_on_what_it_has_and_reads_on_later(house: House) -> None:
    house.write([trace(number) for number in range(100)])
    flaky = Flaky(house.reader, LogUnavailable("gone"), 5)
    trainer = house.trainer(reader=cast(TrafficReader, flaky))
    train_until(trainer, lambda: trainer.distiller.num_steps == 5)
    flaky.left = 10**9
    train_until(trainer, lambda: trainer.distiller.num_steps == 20)
    assert trainer.away == {"traffic log": "gone"}
    house.write([trace(number) for number in range(100, 130)])
    flaky.left = 0
    train_until(trainer, lambda: trainer.record.feed.num_read == 130)
    assert trainer.away == {}


def test_a_purged_tenant_is_forgotten_by_the_trainer_too(house: House) -> None:
    house.write([trace(number, tenant="red" if number % 2 else "blue") for number in range(40)])
    trainer = house.trainer()
    train_until(trainer, lambda: len(list(trainer.pools)) == 40)
    assert house.reader.purge("red") == 20
    train_until(trainer, lambda: len(list(trainer.pools)) == 20)
    assert {held.trace.tenant for held in trainer.pools} == {"blue"}


def test_when_everything_was_purged_it_waits_for_more(house: House) -> None:
    house.write([trace(number) for number in range(60)])
    trainer = house.trainer()
    train_until(trainer, lambda: trainer.distiller.num_steps == 2)
    house.reader.purge("default")
    train_until(trainer, lambda: trainer.state == "collecting")
    before = trainer.distiller.num_steps
    house.write([trace(number) for number in range(60, 100)])
    train_until(trainer, lambda: trainer.distiller.num_steps > before)


def test_with_nothing_to_do_it_says_so(house: House) -> None:
    trainer = house.trainer()
    assert not next(trainer.work())
    assert trainer.state == "collecting"
    house.write([trace(number) for number in range(60)])
    train_until(trainer, lambda: trainer.state == "caught up")
    assert trainer.record.progress.rows_taught >= 8 * trainer.record.progress.rows_received
