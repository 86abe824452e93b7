"""A store at a URL keeps the contract, though nothing there can be renamed, and says when nobody answers."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from pipelines.errors import BadUrl, CorruptCheckpoint, RegistryUnavailable, StoreUnavailable
from pipelines.store import MANIFEST, WEIGHTS, CheckpointStore, open_store
from tests.pipelines.contract_store import RefusalsContract, StoreContract
from tests.pipelines.store_fixture import BehindItsBack, load, locations, make_weights, save

GIVEN = os.environ.get("EVERDRAFT_TEST_CHECKPOINTS", "")
"""URL under which stores may be made, of an object store to test with."""


class TestMemory(StoreContract, RefusalsContract):
    @pytest.fixture
    def url(self, memory_url: str) -> str:
        return memory_url


class TestFileUrl(StoreContract, RefusalsContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        (tmp_path / "store").mkdir()
        return f"file://{tmp_path}/store/"


if GIVEN:

    class TestGiven(StoreContract, RefusalsContract):
        @pytest.fixture
        def url(self) -> str:
            return f"{GIVEN}/{uuid.uuid4().hex}"


@pytest.fixture
def memory_url() -> Iterator[str]:
    """An object store of this process."""
    yield f"memory://{uuid.uuid4().hex}/checkpoints"
    MemoryFileSystem.store.clear()


@pytest.fixture
def store(memory_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckpointStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return open_store(memory_url)


@pytest.fixture
def behind(memory_url: str) -> BehindItsBack:
    return BehindItsBack(memory_url)


def test_a_save_that_breaks_off_leaves_no_version_and_in_time_nothing(
    store: CheckpointStore, behind: BehindItsBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sound = save(store, make_weights(0))
    with monkeypatch.context() as broken:
        broken.setattr(MemoryFileSystem, "pipe_file", _unless_manifest)
        with pytest.raises(StoreUnavailable, match="broken pipe"):
            save(store, make_weights(1))
    assert locations(store) == [sound]
    (torn,) = (path.split("/")[-2] for path in behind.fs.find(behind.root) if f"/{sound}/" not in path)
    with pytest.raises(CorruptCheckpoint, match=MANIFEST):
        load(store, torn)
    store.max_bytes = behind.num_bytes(sound)
    assert store.prune(keep=()) == []
    assert behind.read(torn, WEIGHTS), "it might still be being written"
    an_hour_ago = datetime.datetime.now(tz=datetime.UTC) - datetime.timedelta(seconds=3601)
    behind.fs.store[behind.path(torn, WEIGHTS)].modified = an_hour_ago
    assert store.prune(keep=()) == []
    assert {path.split("/")[-2] for path in behind.fs.find(behind.root)} == {sound}
    manifest, _ = save(store, make_weights(1))
    assert manifest.version == torn, "and it can be saved after all"


def _unless_manifest(self: MemoryFileSystem, path: str, value: bytes, **_: Any) -> None:
    if path.endswith(MANIFEST):
        raise BrokenPipeError("broken pipe")
    self.open(path, "wb", data=value)


class _TheirError(Exception):
    """As packages for object stores have them: related to nothing."""


def test_nobody_answering_is_no_damage_and_is_told_as_such(
    store: CheckpointStore, memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, location = save(store, make_weights())
    with monkeypatch.context() as away:
        for asked in ("info", "find", "cat_file", "pipe_file"):
            away.setattr(MemoryFileSystem, asked, _no_answer)
        for ask in (lambda: load(store, location), lambda: save(store, make_weights(1)), store.manifests):
            with pytest.raises(StoreUnavailable, match="no answer") as told:
                ask()
            assert memory_url.removeprefix("memory://") in str(told.value)
            assert isinstance(told.value, RegistryUnavailable), "whoever waits for the registry waits for the store"
        store.max_bytes = 0
        assert store.prune(keep=()) == [], "what was published is published, whatever becomes of the old"
    assert load(store, location)[0].version == location


def _no_answer(*_: Any, **__: Any) -> None:
    raise _TheirError("no answer")


def test_weights_are_fetched_once(store: CheckpointStore, behind: BehindItsBack, tmp_path: Path) -> None:
    manifest, location = save(store, make_weights())
    load(store, location)
    behind.remove(location, WEIGHTS)
    assert torch.equal(load(open_store(store.place), location)[1]["w"], make_weights()["w"])
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [manifest.weights_sha256]


def test_a_copy_that_was_altered_is_fetched_anew(store: CheckpointStore, tmp_path: Path) -> None:
    manifest, location = save(store, make_weights())
    load(store, location)
    (copy,) = (tmp_path / "cache").rglob(manifest.weights_sha256)
    sound = copy.read_bytes()
    copy.write_bytes(bytes(len(sound)))
    assert torch.equal(load(store, location)[1]["w"], make_weights()["w"])
    assert copy.read_bytes() == sound


def test_weights_that_are_not_what_the_manifest_says_are_not_kept(
    store: CheckpointStore, behind: BehindItsBack, tmp_path: Path
) -> None:
    _, location = save(store, make_weights())
    behind.write(location, WEIGHTS, b"others")
    with pytest.raises(CorruptCheckpoint, match="sha256"):
        load(store, location)
    assert not list((tmp_path / "cache").rglob("*"))


def test_a_deletion_that_breaks_off_leaves_no_version(
    store: CheckpointStore, behind: BehindItsBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, location = save(store, make_weights())
    store.max_bytes = 0
    deleted: list[str] = []

    def once(self: MemoryFileSystem, path: str) -> None:
        if deleted:
            raise _TheirError("no answer")
        deleted.append(path)
        self._rm(path)

    monkeypatch.setattr(MemoryFileSystem, "rm_file", once)
    store.prune(keep=())
    assert deleted == [behind.path(location, MANIFEST)]
    assert store.manifests() == []


def test_a_deletion_leaves_no_empty_folder(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    save(store, make_weights())
    store.max_bytes = 0
    assert store.prune(keep=())
    assert not list(tmp_path.iterdir())


def test_a_folder_above_the_store_is_never_made(tmp_path: Path) -> None:
    """A misspelt bucket is an error, not a new bucket."""
    store = open_store(f"file://{tmp_path}/misspelt")
    with pytest.raises(FileNotFoundError):
        save(store, make_weights())
    assert not list(tmp_path.iterdir())


def test_what_lies_about_in_a_bucket_is_no_version_and_stays(store: CheckpointStore, behind: BehindItsBack) -> None:
    for path in ("README", ".hidden/manifest.json", "deep/er/manifest.json"):
        behind.fs.pipe_file(f"{behind.root}/{path}", b"theirs")
    _, location = save(store, make_weights())
    assert locations(store) == [location]
    store.max_bytes = 0
    assert store.prune(keep=()) == [location]
    assert len(behind.fs.find(behind.root)) == 3


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("carrier-pigeon://ali:hunter2@loft/checkpoints", "'carrier-pigeon' is no protocol that fsspec knows"),
        ("memory://", "expected a bucket or a folder behind ://"),
        ("file:///", "expected a bucket or a folder behind ://"),
    ],
)
def test_a_url_that_cannot_work_is_refused_by_the_name_of_its_setting(url: str, words: str) -> None:
    with pytest.raises(BadUrl) as refused:
        open_store(url)
    assert str(refused.value) == f"checkpoints: {words}"


def test_a_protocol_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known_implementations, "pigeon", {"class": "nowhere.Pigeons", "err": "Install pigeons to send some"})
    with pytest.raises(BadUrl, match=r"^checkpoints: Install pigeons to send some$"):
        open_store("pigeon://loft/checkpoints")
