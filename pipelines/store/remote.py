"""RemoteFiles: versions at a URL that fsspec knows, in an object store above all.

Object stores have no rename. Weights are written first and the manifest last, each in one piece: a version is there once its
manifest is, and what a manifest's hash does not confirm is refused as anywhere else. The layout is that of a folder, so that
one can be copied into the other.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from fsspec.core import url_to_fs

from pipelines.errors import BadUrl, StoreUnavailable
from pipelines.store.cache import WeightsCache
from pipelines.store.files import MANIFEST, WEIGHTS

_TORN_AFTER = 3600.0
"""Seconds after which nobody can be writing the rest of a version any more."""


class RemoteFiles:
    """`Files` under a URL; its bucket, or its folder, is there already. Weights once read are kept in `cache`."""

    def __init__(self, url: str, cache: WeightsCache) -> None:
        """Raises BadUrl. The URL is not repeated in it, for it may hold a password."""
        try:
            self._fs, root = url_to_fs(url)
        except ValueError:
            raise BadUrl(f"checkpoints: {url.partition('://')[0]!r} is no protocol that fsspec knows") from None
        except ImportError as error:  # it says which package is to be installed
            raise BadUrl(f"checkpoints: {error}") from None
        self._root = root.rstrip("/")
        self._cache = cache
        if not self._root:
            raise BadUrl("checkpoints: expected a bucket or a folder behind ://")

    @property
    def place(self) -> str:
        return str(self._fs.unstrip_protocol(self._root))

    def put(self, version: str, weights: bytes, manifest: bytes) -> None:
        with self._answering():
            for name, data in ((WEIGHTS, weights), (MANIFEST, manifest)):  # the last one makes it whole
                self._write(f"{self._root}/{version}", name, data)

    def read(self, version: str, name: str, max_bytes: int, *, sha256: str | None = None) -> bytes:
        if sha256 is None:
            return self._fetch(f"{self._root}/{version}/{name}", max_bytes)
        kept = self._cache.get(sha256, max_bytes)
        if kept is not None:
            return kept
        data = self._fetch(f"{self._root}/{version}/{name}", max_bytes)
        if hashlib.sha256(data).hexdigest() == sha256:
            self._cache.put(sha256, data)
        return data

    def sizes(self) -> dict[str, int]:
        whole = {version: files for version, files in self._listed().items() if MANIFEST in files}
        return {version: sum(info["size"] or 0 for info in files.values()) for version, files in whole.items()}

    def drop(self, version: str) -> None:
        folder = f"{self._root}/{version}"
        with self._answering():
            self._fs.invalidate_cache()
            for path in sorted(self._fs.find(folder), key=lambda path: not path.endswith(f"/{MANIFEST}")):
                with suppress(FileNotFoundError):
                    self._fs.rm_file(path)  # the manifest first: without it the version is gone
            with suppress(OSError, NotImplementedError):  # object stores have no folders
                self._fs.rmdir(folder)

    def sweep(self) -> None:
        for version, files in self._listed().items():
            if MANIFEST not in files and self._abandoned(files):
                self.drop(version)

    def _listed(self) -> dict[str, dict[str, Any]]:
        """What fsspec says of every file, by version and name; by one question."""
        found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        with self._answering(), suppress(FileNotFoundError):  # nothing was ever written here
            self._fs.invalidate_cache()  # others write here too
            for path, info in self._fs.find(self._root, detail=True).items():
                version, slash, name = path.removeprefix(f"{self._root}/").partition("/")
                if slash and "/" not in name and not version.startswith("."):
                    found[version][name] = info
        return found

    def _abandoned(self, files: Mapping[str, Any]) -> bool:
        with self._answering(), suppress(FileNotFoundError, NotImplementedError):  # not every protocol tells times
            newest = max(self._fs.modified(info["name"]).timestamp() for info in files.values())
            return bool(newest < time.time() - _TORN_AFTER)
        return False

    def _fetch(self, path: str, max_bytes: int) -> bytes:
        with self._answering():
            self._fs.invalidate_cache()
            info = self._fs.info(path)
        if info["type"] != "file" or info["size"] is None:
            raise ValueError("not a plain file")
        if info["size"] > max_bytes:
            raise ValueError(f"{info['size']} bytes, expected at most {max_bytes}")
        with self._answering():
            return bytes(self._fs.cat_file(path, start=0, end=info["size"])) if info["size"] else b""

    def _write(self, folder: str, name: str, data: bytes) -> None:
        path = f"{folder}/{name}"
        try:
            self._fs.pipe_file(path, data)
        except FileNotFoundError:  # there are real folders here. Never the parents: a misspelt bucket is not to be made
            with suppress(FileExistsError):
                self._fs.mkdir(folder, create_parents=False)
            self._fs.pipe_file(path, data)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What is not there is not there; anything else, of whichever package's errors, means that it cannot be known."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise
        except Exception as error:
            raise StoreUnavailable(f"{self.place}: {type(error).__name__}: {error}") from error
