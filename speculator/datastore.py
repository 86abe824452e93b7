"""Datastore: texts and their sorted suffixes in a folder that never changes, named by what it holds. (REST, arXiv 2311.08252.)

    <root>/<version>/manifest.json    what is in it, for which tokenizer
    <root>/<version>/0.text           tokens of one scope: everyone's texts, or one tenant's
    <root>/<version>/0.suffixes       their places, sorted

Of the versions in a root the newest counts.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from pipelines.errors import PipelineError
from pipelines.folders import drop_folder, opened_folder, put_folder, read_plain, sweep_torn
from speculator.suffix_array import SuffixArray, joined, sorted_suffixes

FORMAT = 1
EVERYONE = ""
"""The scope whose texts all tenants are drafted for from; any other is a tenant's name."""
KEPT = 2
"""Versions that stay: a server may be about to open the one before the newest."""
_MANIFEST = "manifest.json"
_MAX_MANIFEST = 1 << 20

Texts = Mapping[str, Iterable[list[int]]]
"""By scope."""


class BadDatastore(PipelineError):
    """A datastore that must not be used: torn, altered, of another format or for another tokenizer."""


class Scope(msgspec.Struct, frozen=True):
    """One scope's two files, `<number>.text` and `<number>.suffixes`."""

    name: str
    num_tokens: int
    text_sha256: str
    suffixes_sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version holds."""

    format: int = FORMAT
    tokenizer: str
    """Fingerprint."""
    created_at: float
    scopes: tuple[Scope, ...]

    @property
    def version(self) -> str:
        """The hash of everything but the time."""
        return hashlib.sha256(msgspec.json.encode((self.format, self.tokenizer, self.scopes))).hexdigest()[:16]


class Datastore:
    """An opened version. Its files stay mapped as long as it is used, deleted or not."""

    def __init__(self, version: str, arrays: Mapping[str, SuffixArray]) -> None:
        self.version = version
        self._arrays = arrays

    def __len__(self) -> int:
        """Tokens held."""
        return sum(map(len, self._arrays.values()))

    def bearing_on(self, tenant: str) -> list[SuffixArray]:
        """What a tenant is drafted for from: everyone's texts and its own."""
        return [self._arrays[name] for name in dict.fromkeys((EVERYONE, tenant)) if name in self._arrays]


def build(root: Path, texts: Texts, tokenizer: str) -> Manifest:
    """Writes a version of these texts, and deletes all but the newest. Scopes without a token are left out."""
    files: dict[str, bytes] = {}
    scopes: list[Scope] = []
    for name, each in sorted(texts.items()):
        values = joined(each)
        if len(values):
            text, suffixes = values.astype(">i4").tobytes(), sorted_suffixes(values).tobytes()
            scopes.append(Scope(name, len(suffixes) // 4, _sha256(text), _sha256(suffixes)))
            files |= {f"{len(scopes) - 1}.text": text, f"{len(scopes) - 1}.suffixes": suffixes}
    return _put(root, tokenizer, tuple(scopes), files)


def forget(root: Path, tenant: str) -> int:
    """Writes the newest version again without a tenant's texts and deletes every other. Returns how many tokens went.

    Raises BadDatastore.
    """
    newest = newest_version(root)
    if newest is None or tenant == EVERYONE:
        return 0
    manifest = read_manifest(root, newest)
    gone = sum(scope.num_tokens for scope in manifest.scopes if scope.name == tenant)
    left = [(number, scope) for number, scope in enumerate(manifest.scopes) if scope.name != tenant]
    files: dict[str, bytes] = {}
    for at, (number, _) in enumerate(left):
        for kind in ("text", "suffixes"):
            files[f"{at}.{kind}"] = (root / newest / f"{number}.{kind}").read_bytes()
    kept = _put(root, manifest.tokenizer, tuple(scope for _, scope in left), files).version
    for version in _versions(root):
        if version != kept:
            drop_folder(root, version)
    return gone


def newest_version(root: Path) -> str | None:
    """None: there is none."""
    return max(_versions(root).items(), key=lambda each: (each[1], each[0]), default=(None, 0.0))[0]


def read_manifest(root: Path, version: str) -> Manifest:
    """Raises BadDatastore."""
    try:
        with opened_folder(root / version) as folder:
            manifest = msgspec.json.decode(read_plain(folder, _MANIFEST, _MAX_MANIFEST), type=Manifest)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise BadDatastore(f"{root / version}: {error}") from error
    if manifest.format != FORMAT:
        raise BadDatastore(f"{root / version}: format is {manifest.format}, expected {FORMAT}")
    if manifest.version != version:
        raise BadDatastore(f"{root / version}: its manifest is that of {manifest.version}")
    return manifest


def open_datastore(root: Path, version: str, tokenizer: str) -> Datastore:
    """Maps a version's files and checks them against their hashes. Raises BadDatastore."""
    manifest = read_manifest(root, version)
    if manifest.tokenizer != tokenizer:
        raise BadDatastore(f"{root / version}: tokenizer is {manifest.tokenizer}, expected {tokenizer}")
    arrays = {}
    try:
        for number, scope in enumerate(manifest.scopes):
            text = _mapped(root / version / f"{number}.text", scope.text_sha256)
            suffixes = np.frombuffer(_mapped(root / version / f"{number}.suffixes", scope.suffixes_sha256), np.int32)
            arrays[scope.name] = SuffixArray(text, suffixes)
    except (OSError, ValueError) as error:
        raise BadDatastore(f"{root / version}: {error}") from error
    return Datastore(version, arrays)


def _put(root: Path, tokenizer: str, scopes: tuple[Scope, ...], files: dict[str, bytes]) -> Manifest:
    manifest = Manifest(tokenizer=tokenizer, created_at=time.time(), scopes=scopes)
    put_folder(root, manifest.version, {**files, _MANIFEST: msgspec.json.encode(manifest)})
    sweep_torn(root)
    ages = _versions(root)
    for version in sorted(ages, key=lambda each: (ages[each], each))[:-KEPT]:
        drop_folder(root, version)
    return manifest


def _versions(root: Path) -> dict[str, float]:
    """By name, when they were made; what is no datastore is passed over."""
    found = {}
    for path in root.glob(f"[!.]*/{_MANIFEST}"):
        with suppress(BadDatastore):
            found[path.parent.name] = read_manifest(root, path.parent.name).created_at
    return found


def _mapped(path: Path, sha256: str) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    if _sha256(mapped) != sha256:
        raise ValueError(f"{path.name} is not what was written")
    return mapped


def _sha256(data: bytes | mmap.mmap) -> str:
    return hashlib.sha256(data).hexdigest()
