"""The store hands out what was saved, whole, wherever it is moved to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.checkpoint import Evaluation, Manifest, TrafficSpan
from pipelines.store import MANIFEST, WEIGHTS, CheckpointStore, version_of
from tests.pipelines.store_fixture import MADE_FOR, ROOT, load, make_weights, save

EVALUATION = Evaluation(
    num_conversations=64,
    tokens_per_step=2.5,
    champion_tokens_per_step=2.0,
    gain=0.5,
    gain_lower=0.1,
    budget=16,
)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "new" / "store")


def test_what_is_saved_is_loaded(store: CheckpointStore) -> None:
    weights = {
        "single": torch.randn(3, 4),
        "half": torch.randn(5).to(torch.bfloat16),
        "eight bits": torch.randn(5).to(torch.float8_e4m3fn),
        "whole": torch.arange(6).reshape(2, 3),
        "turned": torch.randn(3, 4).T,
        "nothing": torch.empty(0, 2),
    }
    weights["shared"] = weights["single"][1:]
    span = TrafficSpan(position={0: 9}, num_traces=4, num_tokens=5, newest_at=1.5)
    config: dict[str, int | float | str | bool] = {"layers": 2, "scale": 1.0, "name": "x", "tied": True}
    saved, location = save(store, weights, parent="parent", config=config, span=span, evaluation=EVALUATION, note="n")
    manifest, loaded = load(store, location)
    assert manifest == saved
    assert (manifest.parent, manifest.config, manifest.span) == ("parent", config, span)
    assert (manifest.evaluation, manifest.note, manifest.created_at) == (EVALUATION, "n", 1.0)
    assert manifest.num_parameters == 12 + 5 + 5 + 6 + 12 + 0 + 8
    assert loaded.keys() == weights.keys()
    for name, tensor in weights.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name].double(), tensor.double())


def test_loaded_weights_may_be_changed_without_changing_the_version(store: CheckpointStore) -> None:
    _, location = save(store, make_weights())
    load(store, location)[1]["w"].zero_()
    assert load(store, location)[1]["w"].abs().sum() > 0


def test_the_name_of_a_version_is_its_content(store: CheckpointStore, tmp_path: Path) -> None:
    elsewhere = CheckpointStore(tmp_path / "elsewhere")
    assert save(store, make_weights())[0].version == save(elsewhere, make_weights())[0].version
    others: list[dict[str, Any]] = [
        {"kind": "hydra"},
        {"parent": "parent"},
        {"target": "target-2"},
        {"tokenizer": "tokenizer-2"},
        {"config": {"layers": 3}},
    ]
    versions = {save(store, make_weights(), **other)[0].version for other in others}
    versions |= {save(store, make_weights(seed))[0].version for seed in (0, 1)}
    assert len(versions) == len(others) + 2


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.floats(allow_nan=False)))
def test_the_order_of_the_configuration_does_not_change_the_version(config: dict[str, Any]) -> None:
    made: dict[str, Any] = {"kind": "k", "parent": None, "target": "t", "tokenizer": "t", "weights_sha256": "0"}
    turned = dict(reversed(config.items()))
    assert version_of(**made, config=config) == version_of(**made, config=turned)


def test_the_same_weights_saved_again_are_the_same_version(store: CheckpointStore) -> None:
    first = save(store, make_weights(), note="first")
    assert save(store, make_weights(), note="second") == first
    assert [path.name for path in store.root.iterdir()] == [first[1]]


def test_a_damaged_version_is_mended_by_saving_it_again(store: CheckpointStore) -> None:
    _, location = save(store, make_weights())
    (store.root / location / WEIGHTS).write_bytes(b"")
    save(store, make_weights())
    assert torch.equal(load(store, location)[1]["w"], make_weights()["w"])


def test_a_moved_store_still_works(store: CheckpointStore, tmp_path: Path) -> None:
    _, location = save(store, make_weights())
    store.root.rename(tmp_path / "moved")
    assert load(CheckpointStore(tmp_path / "moved"), location)[0].version == location


def test_a_save_that_fails_leaves_nothing(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, make_weights(0))
    monkeypatch.setattr(os, "rename", _no_space)
    with pytest.raises(OSError, match="no space"):
        save(store, make_weights(1))
    assert len(list(store.root.iterdir())) == 1


@pytest.mark.slow
def test_a_killed_save_leaves_no_version(store: CheckpointStore) -> None:
    program = f"""
import os, signal
from pathlib import Path
from pipelines import folders
from pipelines.store import CheckpointStore
from tests.pipelines.store_fixture import make_weights, save
folders._sync = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
save(CheckpointStore(Path({str(store.root)!r})), make_weights())
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -9
    (torn,) = store.root.iterdir()
    assert torn.name.startswith(".")
    assert store.prune(keep=()) == []
    assert torn.exists(), "it might still be being written"
    an_hour_ago = time.time() - 3601
    os.utime(torn, (an_hour_ago, an_hour_ago))
    store.prune(keep=())
    assert list(store.root.iterdir()) == []


def test_pruning_deletes_the_oldest_but_never_what_is_kept(store: CheckpointStore) -> None:
    locations = [save(store, make_weights(age), created_at=float(age))[1] for age in (2, 0, 3, 1, 4)]
    in_order = [locations[1], locations[3], locations[0], locations[2], locations[4]]
    assert store.prune(keep=()) == []
    size = sum(file.stat().st_size for file in (store.root / locations[0]).iterdir())
    store.max_bytes = 3 * size + size // 2
    assert store.prune(keep=[in_order[0]]) == [in_order[1], in_order[2]]
    assert {path.name for path in store.root.iterdir()} == {in_order[0], in_order[3], in_order[4]}
    store.max_bytes = 0
    assert set(store.prune(keep=[in_order[0], in_order[4]])) == {in_order[3]}
    for kept in (in_order[0], in_order[4]):
        assert load(store, kept)[0].version == kept


def test_pruning_begins_with_what_nobody_can_load(store: CheckpointStore) -> None:
    old, broken = (save(store, make_weights(age), created_at=float(age + 1))[1] for age in (0, 1))
    (store.root / broken / MANIFEST).write_bytes(b"{")
    store.max_bytes = sum(file.stat().st_size for file in (store.root / old).iterdir())
    assert store.prune(keep=()) == [broken]


def test_a_store_that_does_not_exist_yet_has_nothing_to_prune(store: CheckpointStore) -> None:
    assert store.prune(keep=["a"]) == []


def test_a_manifest_can_be_read_by_people(store: CheckpointStore) -> None:
    _, location = save(store, make_weights(), note="for people")
    text = (store.root / location / MANIFEST).read_text()
    assert '\n  "note": "for people"' in text
    assert isinstance(load(store, location)[0], Manifest)
    assert set(MADE_FOR.values()) <= set(text.split('"'))


def _no_space(*_: object) -> None:
    raise OSError("no space left on device")
