"""Swaps: between two steps, only to what was checked, and never visible in the text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from models.heads import DraftHeads, MedusaHeads, PackedMedusa
from pipelines.checkpoint import Manifest
from pipelines.errors import StoreUnavailable
from pipelines.registry import Registry, Slot, open_registry
from pipelines.store import open_store
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.swap import Swap
from speculator.batch import Sampling
from speculator.draft_lm import DraftModelSpeculator
from speculator.heads import Root
from speculator.merged import MergedSpeculator
from speculator.ssd.speculator import SsdSpeculator
from speculator.static_heads import heads_of, heads_source, untrained_config
from tests.serving.rig import MAX_TREE, VOCAB, plain_engine, tiny_decoder, tiny_scheduler, tiny_target
from tests.speculator.draft_models import draft_model, runner_of, target_of
from tests.speculator.ssd.beside import Beside
from tests.speculator.test_draft_lm import TARGET, requests, served
from tests.wait import wait_until

DECODER = tiny_decoder()
SLOT = Slot(target="target-1", kind="medusa")
HYDRA = Slot(target="target-1", kind="hydra")
REQUEST = Request(id=1, prompt_ids=(3, 1, 4, 1, 5), max_tokens=40, temperature=0.7, seed=9)


def heads(seed: int, kind: str = "medusa") -> DraftHeads:
    made = heads_of(kind, untrained_config(kind, DECODER.config, num_heads=3), DECODER)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return made


class House:
    """A registry and a store in a folder, and an engine whose swap watches them."""

    def __init__(self, folder: Path, slot: Slot = SLOT) -> None:
        self.slot = slot
        self.url = f"sqlite:///{folder / 'registry.db'}"
        self.store = open_store(folder / "checkpoints")
        self.registry: Registry = open_registry(self.url)
        source = heads_source(heads(0, slot.kind), DECODER.logits, name=slot.kind, version="static")
        speculator = MergedSpeculator([source], max_tree=MAX_TREE)
        target = tiny_target(DECODER)
        swap = Swap(slot, open_registry=lambda: open_registry(self.url), store=self.store, interval=0.01)
        self.engine = Engine(target, tiny_scheduler(target), speculator, FixedBudget(6), swap)

    def publish(self, seed: int) -> str:
        manifest = save_only(self, seed)
        announce(self, manifest)
        return manifest.version

    @property
    def version(self) -> str:
        return self.engine.speculator.versions[self.slot.kind]

    def take(self) -> None:
        self.engine.take_newer()


@contextmanager
def house(folder: Path, slot: Slot = SLOT) -> Iterator[House]:
    made = House(folder, slot)
    made.engine.swap.start()
    try:
        yield made
    finally:
        made.engine.swap.stop()
        made.registry.close()


def taken(each: House, version: str) -> bool:
    each.take()
    return each.version == version


@pytest.mark.parametrize("slot", [SLOT, HYDRA])
def test_swaps_in_mid_sequence_leave_a_sampled_answer_unchanged(tmp_path: Path, slot: Slot) -> None:
    plain = plain_engine(tiny_target(DECODER))
    plain.submit(REQUEST)
    expected: tuple[int, ...] = ()
    while plain.has_work:
        expected += plain.step()[0].token_ids if plain.scheduler.num_running or plain.scheduler.num_waiting else ()
    with house(tmp_path, slot) as here:
        here.engine.submit(REQUEST)
        said: tuple[int, ...] = ()
        versions = {here.version}
        while here.engine.has_work:
            for moved in here.engine.step():
                said += moved.token_ids
            if len(versions) < 4:
                published = here.publish(seed=len(versions))
                wait_until(lambda: taken(here, published))  # noqa: B023
                versions.add(here.version)
        assert len(versions) == 4
        assert here.engine.swap.num_swaps == 3
        assert said == expected


@pytest.mark.parametrize("slot", [SLOT, HYDRA])
def test_a_swap_takes_the_weights_of_the_version_it_names(tmp_path: Path, slot: Slot) -> None:
    with house(tmp_path, slot) as here:
        published = here.publish(seed=5)
        wait_until(lambda: taken(here, published))
        source = here.engine.speculator
        hidden = torch.randn(2, DECODER.config.hidden_size)
        inner = heads_source(heads(5, slot.kind), DECODER.logits, name=slot.kind, version="x")
        roots = [Root(2, (Sampling(temperature=0.0), 0), 9, 3), Root(4, (Sampling(seed=3), 5), 9, 3)]
        assert source._sources[0].trees(hidden, roots) == inner.trees(hidden, roots)  # type: ignore[attr-defined]


def refused(folder: Path, spoil: Callable[[House], None], why: str) -> None:
    """After `spoil` something is published that must not be served: the version stays, the failure is counted and told."""
    with house(folder) as here:
        good = here.publish(seed=1)
        wait_until(lambda: taken(here, good))
        spoil(here)
        wait_until(lambda: here.engine.swap.num_failures == 1)
        here.take()
        assert here.version == good
        assert why in here.engine.swap.last_error
        better = here.publish(seed=3)  # and the next sound one is taken
        wait_until(lambda: taken(here, better))


def test_a_truncated_checkpoint_is_refused_and_the_old_version_stays(tmp_path: Path) -> None:
    def spoil(here: House) -> None:
        manifest = save_only(here, 2)
        weights = Path(here.store.place) / manifest.version / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        announce(here, manifest)

    refused(tmp_path, spoil, "sha256")


def test_a_foreign_checkpoint_is_refused_and_the_old_version_stays(tmp_path: Path) -> None:
    refused(tmp_path, lambda here: announce(here, save_only(here, 2, target="another")), "target")


def test_heads_of_another_shape_are_refused_and_the_old_version_stays(tmp_path: Path) -> None:
    def spoil(here: House) -> None:
        wide = MedusaHeads(DECODER.config.hidden_size, 5, 1, VOCAB)
        announce(here, save_only(here, 2, made=wide))
        wait_until(lambda: not here.take() and here.engine.swap.num_failures == 1)

    refused(tmp_path, spoil, "shape")


def test_heads_that_cannot_be_prepared_are_refused_once_and_tried_again_with_the_next_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(weights: object) -> PackedMedusa:
        raise MemoryError("none left")

    with house(tmp_path) as here:
        good = here.publish(seed=1)
        wait_until(lambda: taken(here, good))
        with monkeypatch.context() as patch:
            patch.setattr("speculator.medusa.PackedMedusa", fail)
            unlucky = here.publish(seed=2)
            wait_until(lambda: not here.take() and here.engine.swap.num_failures == 1)
        assert f"version {unlucky} cannot be prepared: none left" in here.engine.swap.last_error
        here.take()
        assert (here.version, here.engine.swap.num_failures) == (good, 1)
        other = save_only(here, 3)
        here.registry.record(here.slot, other, other.version)
        here.registry.stage(here.slot, other.version)  # the next generation has the same champion
        wait_until(lambda: taken(here, unlucky))


def test_nobody_waits_while_heads_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def late(weights: Mapping[str, Tensor]) -> PackedMedusa:
        assert go_on.wait(30)
        return PackedMedusa(weights)

    with house(tmp_path) as here:
        monkeypatch.setattr("speculator.medusa.PackedMedusa", late)
        newer = here.publish(seed=1)
        wait_until(lambda: not here.take() and here.engine.swap.num_swaps == 1)
        here.engine.submit(REQUEST)
        while here.engine.has_work:
            here.engine.step()
        assert here.version == "static"
        go_on.set()
        wait_until(lambda: taken(here, newer))


def test_a_store_that_does_not_answer_is_asked_until_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the bucket is away")

    with house(tmp_path) as here:
        good = here.publish(seed=1)
        wait_until(lambda: taken(here, good))
        with monkeypatch.context() as outage:
            outage.setattr(here.store, "load", away)
            better = here.publish(seed=2)
            wait_until(lambda: "the bucket is away" in here.engine.swap.last_error)
            assert not taken(here, better)
        wait_until(lambda: taken(here, better))
        assert here.engine.swap.num_failures == 0, "nothing was wrong with the version"


def save_only(here: House, seed: int, target: str = SLOT.target, made: DraftHeads | None = None) -> Manifest:
    made = made or heads(seed, here.slot.kind)
    manifest, _ = here.store.save(
        dict(made.named_parameters()),
        kind=here.slot.kind,
        parent=None,
        target=target,
        tokenizer="tokenizer-1",
        config=made.config,
        created_at=float(seed),
    )
    return manifest


def announce(here: House, manifest: Manifest) -> None:
    """Publishes what the store holds under that version as if it were this target's: the registry does not look inside."""
    claimed = msgspec.structs.replace(manifest, target=SLOT.target)
    generation = here.registry.state(here.slot).generation
    here.registry.publish(here.slot, claimed, manifest.version, expected_generation=generation)


def test_draft_models_before_and_beside_the_target_take_up_what_is_published(tmp_path: Path) -> None:
    """Through a swap of their own kind's slot; the text stays plain decoding's."""
    slot = Slot(target="target-1", kind="draft-lm")
    registry, store = open_registry(url := f"sqlite:///{tmp_path / 'registry.db'}"), open_store(tmp_path / "checkpoints")
    link = Beside(draft_model(seed=5))
    beside = SsdSpeculator(lambda: link, version="v0", shape=link.shape, vocab_size=VOCAB)
    beside._link = link
    before = DraftModelSpeculator(runner_of(draft_model(seed=5)), version="v0", max_tree=12, depth=4)
    target = target_of(TARGET)
    engine = Engine(target, tiny_scheduler(target), MergedSpeculator([before, beside], max_tree=12), FixedBudget(8))
    swap = Swap(slot, open_registry=lambda: open_registry(url), store=store, interval=0.01)
    engine.further_swaps = (swap,)
    swap.start()
    try:
        asked = requests(4, 0.8)
        expected = served(plain_engine(target_of(TARGET)), asked)
        assert served(engine, asked) == expected
        for seed in (1, 2):
            model = draft_model(seed=seed)
            manifest, location = store.save(
                {name: tensor.detach() for name, tensor in model.tensors.items()},
                kind=slot.kind,
                parent=None,
                target=slot.target,
                tokenizer="tokenizer-1",
                config=model.config,
                created_at=float(seed),
            )
            registry.publish(slot, manifest, location, expected_generation=seed - 1)
            versions = {"draft-lm": manifest.version, "ssd": manifest.version}
            wait_until(lambda: served(engine, asked) == expected and engine.speculator.versions == versions)  # noqa: B023
        embeddings = link.worker._runner._decoder.output_embeddings()
        assert torch.equal(embeddings, draft_model(seed=2).tensors["model.embed_tokens.weight"])
    finally:
        engine.close()
        registry.close()
