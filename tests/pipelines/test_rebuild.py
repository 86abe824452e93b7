"""A registry that was lost comes back from the manifests in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.checkpoint import Evaluation
from pipelines.rebuild import rebuild
from pipelines.registry import Slot, open_registry
from pipelines.store import CheckpointStore, open_store

ALL = Slot(target="target", kind="medusa")
ACME = Slot(target="target", kind="medusa", scope="acme")


def judged(gain_lower: float) -> Evaluation:
    return Evaluation(
        num_conversations=64, tokens_per_step=2.0, champion_tokens_per_step=1.5, gain=0.5, gain_lower=gain_lower, budget=16
    )


def save(store: CheckpointStore, number: int, evaluation: Evaluation | None, slot: Slot = ALL) -> str:
    manifest, location = store.save(
        {"weight": torch.full((2,), float(number))},
        kind=slot.kind,
        parent=None,
        target=slot.target,
        tokenizer="tokenizer",
        config={},
        created_at=float(number),
        scope=slot.scope,
        evaluation=evaluation,
    )
    assert location == manifest.version
    return manifest.version


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return open_store(tmp_path / "checkpoints")


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/registry.db"


def test_every_version_is_known_again_and_the_newest_that_passed_is_champion(store: CheckpointStore, tmp_path: Path) -> None:
    judgements = (None, judged(0.1), judged(0.2), judged(-0.1))
    static, old, new, rejected = (save(store, number, each) for number, each in enumerate(judgements, 1))
    theirs = save(store, 9, judged(0.3), ACME)
    registry = open_registry(url(tmp_path))
    states = rebuild(registry, store)
    assert [manifest.version for manifest in registry.versions(ALL)] == [static, old, new, rejected]
    assert states[ALL].champion == new
    assert states[ACME].champion == theirs
    assert registry.location(ALL, new) == new
    assert rebuild(registry, store) == states, "done again it changes nothing"
    registry.close()


def test_what_the_registry_knows_stays(store: CheckpointStore, tmp_path: Path) -> None:
    first, second = save(store, 1, judged(0.1)), save(store, 2, judged(0.2))
    registry = open_registry(url(tmp_path))
    by_name = {manifest.version: manifest for manifest in store.manifests()}
    registry.publish(ALL, by_name[first], first, expected_generation=0)
    assert rebuild(registry, store)[ALL].champion == first
    registry.publish(ALL, by_name[second], second, expected_generation=1)
    registry.rollback(ALL)
    assert rebuild(registry, store)[ALL].champion == first, "what is quarantined is not published"
    registry.close()


def test_what_is_torn_or_renamed_is_left_out(store: CheckpointStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sound, torn, renamed = (save(store, number, judged(0.1)) for number in (1, 2, 3))
    root = Path(store.place)
    (root / torn / "manifest.json").write_text("{")
    (root / renamed).rename(root / "other")
    registry = open_registry(url(tmp_path))
    assert rebuild(registry, store)[ALL].champion == sound
    assert [manifest.version for manifest in registry.versions(ALL)] == [sound]
    assert "other is left out" in caplog.text
    registry.close()
