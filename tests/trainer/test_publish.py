"""Publishing: weights before pointers, nothing sick, and nothing pruned that a rollback may need."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from models.heads import MedusaHeads
from pipelines.checkpoint import TrafficSpan
from pipelines.errors import CorruptCheckpoint, StaleGeneration
from pipelines.registry import Slot
from pipelines.store import open_store
from tests.trainer.scripted import SLOT, TOKENIZER, VOCAB, House
from trainer.gate import Judgement
from trainer.publish import Candidate, Publisher

PASSED = Judgement("passed", 64, 2.0, 1.5, 0.1)


def candidate(value: float, parent: str | None = None) -> Candidate:
    heads = MedusaHeads(VOCAB, 3, 1, VOCAB)
    with torch.no_grad():
        heads.weight.fill_(value)
    weights = {name: weight.detach() for name, weight in heads.named_parameters()}
    return Candidate(weights=weights, config=heads.config, parent=parent, span=TrafficSpan(num_traces=5))


def publisher(house: House, max_bytes: int = 1 << 30, slot: Slot = SLOT) -> Publisher:
    store = open_store(house.store.place, max_bytes=max_bytes)
    return Publisher(house.registry, store, slot, TOKENIZER, budget=16, static=None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_reach_neither_store_nor_registry(house: House, value: float) -> None:
    with pytest.raises(CorruptCheckpoint):
        publisher(house).publish(candidate(value), PASSED, 0)
    assert house.registry.versions(SLOT) == []
    assert house.store.manifests() == []


def test_a_slot_that_has_moved_is_left_alone(house: House) -> None:
    subject = publisher(house)
    first, state = subject.publish(candidate(1.0), PASSED, 0)
    with pytest.raises(StaleGeneration):
        subject.publish(candidate(2.0), PASSED, 0)
    assert house.registry.state(SLOT) == state
    assert state.champion == first


def test_a_rejected_candidate_can_be_looked_at_and_is_nobodys_champion(house: House) -> None:
    version = publisher(house).reject(candidate(1.0), Judgement("no gain", 64, 1.4, 1.5, -0.2))
    assert house.registry.state(SLOT).champion is None
    [manifest] = house.registry.versions(SLOT)
    assert manifest.version == version
    assert manifest.evaluation is not None
    assert manifest.evaluation.gain == pytest.approx(-0.1)
    assert [event.action for event in house.registry.events()] == ["rejected"]


def test_pruning_keeps_what_is_in_service_and_what_a_rollback_goes_back_to(build_house: Callable[..., House]) -> None:
    house = build_house()
    subject = publisher(house, max_bytes=1)  # nothing fits: all that may go goes
    lineage: list[str] = []
    for generation in range(4):
        parent = lineage[-1] if lineage else None
        subject.reject(candidate(-1.0 - generation, parent), Judgement("no gain", 64, 1.4, 1.5, -0.2))
        lineage.append(subject.publish(candidate(1.0 + generation, parent), PASSED, generation)[0])
    assert sorted(manifest.version for manifest in house.store.manifests()) == sorted(lineage)
    assert house.registry.rollback(SLOT).champion == lineage[-2]


@pytest.mark.parametrize(("kind", "scope"), [("draft-lm", "all"), ("medusa", "acme")])
def test_pruning_keeps_what_other_slots_have_in_service(house: House, kind: str, scope: str) -> None:
    other = Slot(target=SLOT.target, kind=kind, scope=scope)
    theirs = publisher(house, slot=other).publish(candidate(5.0), PASSED, 0)[0]
    ours = [publisher(house, max_bytes=1).publish(candidate(1.0 + number), PASSED, number)[0] for number in range(3)]
    kept = {manifest.version for manifest in house.store.manifests()}
    assert kept == {theirs, *ours[1:]}
