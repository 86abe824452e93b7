"""The cache of weights is bounded, checks what it hands out, and never fails."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

import pytest

from pipelines.store.cache import WeightsCache

MUCH = 1 << 20


def named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(cache: WeightsCache, *weights: bytes) -> None:
    for data in weights:
        cache.put(named(data), data)


def got(cache: WeightsCache, *weights: bytes) -> list[bool]:
    found = [cache.get(named(data), MUCH) for data in weights]
    assert all(data in (None, expected) for data, expected in zip(found, weights, strict=True))
    return [data is not None for data in found]


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    cache = WeightsCache(tmp_path / "new", 250)
    a, b, c = (bytes([letter]) * 100 for letter in b"abc")
    put(cache, a, b)
    for age, data in ((20, b), (30, a)):
        os.utime(tmp_path / "new" / named(data), (0, time.time() - age))
    assert got(cache, a) == [True]  # which makes it the newer one
    put(cache, c)
    assert got(cache, a, b, c) == [True, False, True]


def test_what_a_killed_process_left_counts_and_goes(tmp_path: Path) -> None:
    cache = WeightsCache(tmp_path, 250)
    (tmp_path / "tmp_half").write_bytes(bytes(200))
    os.utime(tmp_path / "tmp_half", (0, 0))
    put(cache, b"a" * 100)
    assert [path.name for path in tmp_path.iterdir()] == [named(b"a" * 100)]


def test_what_never_fits_drives_out_nothing(tmp_path: Path) -> None:
    cache = WeightsCache(tmp_path, 250)
    put(cache, b"a" * 100, b"b" * 251)
    assert got(cache, b"a" * 100, b"b" * 251) == [True, False]


def test_what_was_altered_is_not_handed_out_and_goes(tmp_path: Path) -> None:
    cache = WeightsCache(tmp_path, 250)
    put(cache, b"sound")
    (tmp_path / named(b"sound")).write_bytes(b"rotten")
    assert got(cache, b"sound") == [False]
    assert not list(tmp_path.iterdir())


def test_more_bytes_than_are_wanted_are_not_read(tmp_path: Path) -> None:
    cache = WeightsCache(tmp_path, 250)
    put(cache, b"a" * 100)
    with pytest.raises(ValueError, match="100 bytes, expected at most 99"):
        cache.get(named(b"a" * 100), 99)


def test_without_a_folder_to_write_to_there_is_nothing_and_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache = WeightsCache(tmp_path / "file" / "cache", 250)
    put(cache, b"a")
    assert got(cache, b"a") == [False]
    assert "weights are not kept" in caplog.text


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", _no_space)
    put(WeightsCache(tmp_path, 250), b"a")
    assert not list(tmp_path.iterdir())


def _no_space(*_: object) -> None:
    raise OSError("no space left on device")


def test_a_user_without_a_home_has_a_cache_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    put(WeightsCache.of_this_user(), b"a")
    assert (tmp_path / "everdraft" / "weights" / named(b"a")).exists()
