"""A store in a folder keeps the contract; versions appear by one rename and are never links."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import CorruptCheckpoint
from pipelines.store import MANIFEST, WEIGHTS, CheckpointStore, open_store, version_of
from tests.pipelines.contract_store import RefusalsContract, StoreContract
from tests.pipelines.store_fixture import ROOT, load, make_weights, save


class TestFolder(StoreContract, RefusalsContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return str(tmp_path / "new" / "store")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> CheckpointStore:
    return open_store(root)


@pytest.fixture
def folder(store: CheckpointStore, root: Path) -> Path:
    """A sound version, to be damaged."""
    return root / save(store, make_weights())[1]


def test_the_name_of_a_version_is_its_content(store: CheckpointStore, tmp_path: Path) -> None:
    elsewhere = open_store(tmp_path / "elsewhere")
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


def test_a_moved_store_still_works(folder: Path, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "moved")
    assert load(open_store(tmp_path / "moved"), folder.name)[0].version == folder.name


def test_a_save_that_fails_leaves_nothing(store: CheckpointStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, make_weights(0))
    monkeypatch.setattr(os, "rename", _no_space)
    with pytest.raises(OSError, match="no space"):
        save(store, make_weights(1))
    assert len(list(root.iterdir())) == 1


@pytest.mark.slow
def test_a_killed_save_leaves_no_version(store: CheckpointStore, root: Path) -> None:
    program = f"""
import os, signal
from pipelines import folders
from pipelines.store import open_store
from tests.pipelines.store_fixture import make_weights, save
folders._sync = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
save(open_store({str(root)!r}), make_weights())
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -9
    (torn,) = root.iterdir()
    assert torn.name.startswith(".")
    assert store.prune(keep=()) == []
    assert torn.exists(), "it might still be being written"
    an_hour_ago = time.time() - 3601
    os.utime(torn, (an_hour_ago, an_hour_ago))
    store.prune(keep=())
    assert list(root.iterdir()) == []


def test_a_huge_manifest_is_not_read(store: CheckpointStore, folder: Path) -> None:
    os.truncate(folder / MANIFEST, 1 << 40)  # sparse: it takes no room on the disk, but would in memory
    with pytest.raises(CorruptCheckpoint, match="expected at most"):
        load(store, folder.name)


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


def _no_space(*_: object) -> None:
    raise OSError("no space left on device")
