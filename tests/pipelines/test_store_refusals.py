"""What the store refuses to save or to load, and what it says."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import safetensors.torch
import torch

from pipelines.checkpoint import Evaluation, TrafficSpan
from pipelines.errors import BadCheckpoint, CorruptCheckpoint, ForeignCheckpoint
from pipelines.store import MANIFEST, WEIGHTS, CheckpointStore, version_of
from tests.pipelines.store_fixture import MADE_FOR, load, make_weights, save


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store")


@pytest.fixture
def folder(store: CheckpointStore) -> Path:
    """A sound version, to be damaged."""
    return store.root / save(store, make_weights())[1]


def rewrite(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | fields))


def forge(store: CheckpointStore, data: bytes, num_parameters: int) -> str:
    """A version whose manifest vouches for any bytes: what a faulty publisher could write."""

    made: dict[str, Any] = {**MADE_FOR, "parent": None, "config": {}}
    made["weights_sha256"] = hashlib.sha256(data).hexdigest()
    location = version_of(**made)
    folder = store.root / location
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(data)
    manifest = {**made, "version": location, "created_at": 1.0, "num_parameters": num_parameters}
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return location


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_not_saved(store: CheckpointStore, value: float, dtype: torch.dtype) -> None:
    weights = make_weights() | {"bad": torch.tensor([1.0, value]).to(dtype)}
    with pytest.raises(CorruptCheckpoint, match="bad holds 1 values that are not finite"):
        save(store, weights)
    assert not store.root.exists()


def test_figures_that_are_not_finite_are_not_saved(store: CheckpointStore) -> None:
    evaluation = Evaluation(
        num_conversations=1,
        tokens_per_step=1.0,
        champion_tokens_per_step=1.0,
        gain=math.nan,
        gain_lower=0.0,
        budget=1,
    )
    with pytest.raises(CorruptCheckpoint, match=r"evaluation\.gain"):
        save(store, make_weights(), evaluation=evaluation)
    with pytest.raises(CorruptCheckpoint, match="config"):
        save(store, make_weights(), config={"scale": math.inf})
    with pytest.raises(CorruptCheckpoint, match="newest_at"):
        save(store, make_weights(), span=TrafficSpan(newest_at=math.inf))
    assert not store.root.exists()


def test_weights_that_are_not_finite_are_not_loaded(store: CheckpointStore) -> None:
    data = safetensors.torch.save({"bad": torch.tensor([1.0, math.nan])})
    with pytest.raises(CorruptCheckpoint, match="bad holds 1 values that are not finite"):
        load(store, forge(store, data, num_parameters=2))


@pytest.mark.parametrize("field", ["target", "tokenizer", "kind"])
def test_a_version_made_for_something_else_is_foreign(store: CheckpointStore, folder: Path, field: str) -> None:
    with pytest.raises(ForeignCheckpoint, match=f"{field} of {folder.name} is '{MADE_FOR[field]}', expected 'x'"):
        load(store, folder.name, **{field: "x"})


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_no_byte_of_a_version_can_be_altered(store: CheckpointStore, folder: Path, name: str) -> None:
    path = folder / name
    sound = path.read_bytes()
    for position in range(0, len(sound), 7):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        try:
            manifest, _ = load(store, folder.name)
        except BadCheckpoint:
            continue
        # only what decides nothing may differ: a date, a note, an evaluation
        assert name == MANIFEST
        assert manifest.version == folder.name


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_a_truncated_file_is_refused(store: CheckpointStore, folder: Path, name: str) -> None:
    path = folder / name
    sound = path.read_bytes()
    for length in (0, 1, 7, 8, 9, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:length])
        with pytest.raises(CorruptCheckpoint):
            load(store, folder.name)


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_a_missing_file_is_refused_by_name(store: CheckpointStore, folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CorruptCheckpoint, match=f"{name} of {folder.name}"):
        load(store, folder.name)


def test_a_missing_version_is_refused_by_name(store: CheckpointStore) -> None:
    with pytest.raises(CorruptCheckpoint, match="0123456789abcdef"):
        load(store, "0123456789abcdef")


def test_a_renamed_version_is_refused(store: CheckpointStore, folder: Path) -> None:
    folder.rename(folder.with_name("better-name"))
    with pytest.raises(CorruptCheckpoint, match=f"better-name: the manifest says version {folder.name}"):
        load(store, "better-name")


def test_a_version_whose_name_is_not_its_content_is_refused(store: CheckpointStore, folder: Path) -> None:
    rewrite(folder, parent="somebody else")
    with pytest.raises(CorruptCheckpoint, match="its content makes"):
        load(store, folder.name)


def test_weights_of_another_version_are_refused(store: CheckpointStore, folder: Path) -> None:
    other = store.root / save(store, make_weights(1))[1]
    shutil.copy(other / WEIGHTS, folder / WEIGHTS)
    with pytest.raises(CorruptCheckpoint, match="sha256"):
        load(store, folder.name)


def test_a_manifest_that_miscounts_is_refused(store: CheckpointStore, folder: Path) -> None:
    rewrite(folder, num_parameters=71)
    with pytest.raises(CorruptCheckpoint, match="72 parameters, expected 71"):
        load(store, folder.name)


def test_a_manifest_of_another_schema_is_refused(store: CheckpointStore, folder: Path) -> None:
    rewrite(folder, schema=2)
    with pytest.raises(CorruptCheckpoint, match="schema is 2, expected 1"):
        load(store, folder.name)


def test_weights_that_are_too_large_are_not_read(store: CheckpointStore, folder: Path) -> None:
    size = (folder / WEIGHTS).stat().st_size
    assert load(store, folder.name, max_bytes=size)
    with pytest.raises(CorruptCheckpoint, match=f"{size} bytes, expected at most {size - 1}"):
        load(store, folder.name, max_bytes=size - 1)


def test_a_manifest_that_is_too_large_is_not_read(store: CheckpointStore, folder: Path) -> None:
    os.truncate(folder / MANIFEST, 1 << 40)  # sparse: it takes no room on the disk, but would in memory
    with pytest.raises(CorruptCheckpoint, match="expected at most"):
        load(store, folder.name)


def test_a_pickle_is_never_opened(store: CheckpointStore, tmp_path: Path) -> None:
    data = pickle.dumps(_Bomb(tmp_path / "exploded"))
    with pytest.raises(CorruptCheckpoint, match="not a safetensors file"):
        load(store, forge(store, data, num_parameters=0))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "location",
    ["", ".", "..", "../outside", "/etc", "a/b", "a/../b", "a\\b", ".tmp-1", "a\0b", "a\n", "~", "file:///a"],
)
def test_a_location_that_is_not_a_name_inside_the_store_is_refused(store: CheckpointStore, location: str) -> None:
    with pytest.raises(BadCheckpoint, match="location is "):
        load(store, location)


def test_a_link_out_of_the_store_is_not_followed(store: CheckpointStore, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    with pytest.raises(CorruptCheckpoint):
        load(store, folder.name)
    folder.unlink()
    shutil.copytree(outside, folder)
    assert load(store, folder.name)
    for name in (WEIGHTS, MANIFEST):
        (folder / name).unlink()
        (folder / name).symlink_to(outside / name)
        with pytest.raises(CorruptCheckpoint, match=name):
            load(store, folder.name)
        (folder / name).unlink()
        shutil.copy(outside / name, folder / name)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_what_is_no_plain_file_is_refused_at_once(
    store: CheckpointStore, folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(CorruptCheckpoint, match=name):
        load(store, folder.name)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)
