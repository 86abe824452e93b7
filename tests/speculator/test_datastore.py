"""Datastores: what is written is what is opened, tenant by tenant; what is damaged is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speculator import datastore
from speculator.datastore import EVERYONE, BadDatastore, build, forget, newest_version, open_datastore
from tests.speculator.test_suffix_array import occurrences

TOKENIZER = "t" * 16
TEXTS = {EVERYONE: [[1, 2, 3]], "acme": [[1, 2, 4], [7, 8, 9]], "other": [[1, 2, 5]]}


def test_a_version_is_named_by_what_it_holds(tmp_path: Path) -> None:
    first = build(tmp_path, TEXTS, TOKENIZER).version
    assert build(tmp_path, {**TEXTS, "empty": []}, TOKENIZER).version == first
    assert build(tmp_path, {**TEXTS, "acme": [[1, 2, 4]]}, TOKENIZER).version != first
    assert build(tmp_path, TEXTS, "another").version != first


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["", "a", "b"]), st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=3), max_size=3
    ),
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
)
def test_a_tenant_is_drafted_for_from_everyones_texts_and_its_own_alone(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, list[list[int]]], pattern: list[int]
) -> None:
    root = tmp_path_factory.mktemp("store")
    store = open_datastore(root, build(root, texts, TOKENIZER).version, TOKENIZER)
    for tenant in ("a", "b", "c"):
        found: list[list[int]] = []
        for array in store.bearing_on(tenant):
            start, stop = array.interval(pattern)
            found += [array.run(place + len(pattern), 99) for place in array.places(start, stop, 10**6)]
        allowed = [text for scope in ("", tenant) for text in texts.get(scope, [])]
        assert sorted(found) == sorted(occurrences(allowed, pattern))


def test_the_newest_counts_and_only_two_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(datastore.time, "time", lambda: float(next(now)))
    assert newest_version(tmp_path) is None
    versions = [build(tmp_path, {EVERYONE: [[number]]}, TOKENIZER).version for number in range(4)]
    assert newest_version(tmp_path) == versions[-1]
    assert {path.name for path in tmp_path.iterdir()} == set(versions[-2:])
    again = build(tmp_path, {EVERYONE: [[2]]}, TOKENIZER).version
    assert newest_version(tmp_path) == again == versions[2]


def test_a_store_in_use_may_be_deleted(tmp_path: Path) -> None:
    version = build(tmp_path, TEXTS, TOKENIZER).version
    store = open_datastore(tmp_path, version, TOKENIZER)
    shutil.rmtree(tmp_path / version)
    array, _ = store.bearing_on("acme")
    assert array.interval([1, 2]) == (0, 1)
    with pytest.raises(BadDatastore):
        open_datastore(tmp_path, version, TOKENIZER)


@pytest.mark.parametrize("file", ["manifest.json", "0.text", "1.suffixes"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "empty"])
def test_what_is_damaged_is_refused(tmp_path: Path, file: str, damage: str) -> None:
    version = build(tmp_path, TEXTS, TOKENIZER).version
    path = tmp_path / version / file
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"flipped": bytes(data), "cut": bytes(data[:-1]), "empty": b""}[damage])
    with pytest.raises(BadDatastore, match=version):
        open_datastore(tmp_path, version, TOKENIZER)


def test_another_tokenizers_or_formats_store_is_refused(tmp_path: Path) -> None:
    version = build(tmp_path, TEXTS, TOKENIZER).version
    with pytest.raises(BadDatastore, match="tokenizer is tttttttttttttttt, expected other"):
        open_datastore(tmp_path, version, "other")
    manifest = tmp_path / version / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(BadDatastore, match="format is 2, expected 1"):
        open_datastore(tmp_path, version, TOKENIZER)


def test_a_forgotten_tenants_text_is_in_no_file(tmp_path: Path) -> None:
    build(tmp_path, {"acme": [[7, 8, 9]]}, TOKENIZER)
    build(tmp_path, TEXTS, TOKENIZER)
    assert forget(tmp_path, "acme") == 6
    version = newest_version(tmp_path)
    assert version is not None
    store = open_datastore(tmp_path, version, TOKENIZER)
    assert len(store.bearing_on("acme")) == 1
    assert len(store.bearing_on("other")) == 2
    assert store.bearing_on("other")[1].interval([1, 2, 5]) == (0, 1)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert (9).to_bytes(4) + (10).to_bytes(4) not in kept
    assert forget(tmp_path, "acme") == forget(tmp_path / "nowhere", "acme") == 0
