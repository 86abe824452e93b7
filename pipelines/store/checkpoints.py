"""CheckpointStore: saves versions, and hands out those that are what they say.

A version is a folder named by its content hash, with `weights.safetensors` and `manifest.json`. It appears whole or not at all,
and never changes. A location is the folder's name, so a store can be moved.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Mapping

import msgspec
from torch import Tensor

from pipelines.checkpoint import (
    Checkpoint,
    Evaluation,
    Manifest,
    TrafficSpan,
    decode_manifest,
    encode_manifest,
)
from pipelines.errors import BadCheckpoint, CorruptCheckpoint, ForeignCheckpoint, StoreUnavailable
from pipelines.store.files import MANIFEST, WEIGHTS, Files
from pipelines.weights import decode_weights, encode_weights, num_parameters

log = logging.getLogger(__name__)

MAX_STORE_BYTES = 8 << 30
MAX_WEIGHTS_BYTES = 4 << 30
_MAX_MANIFEST_BYTES = 1 << 20
_LOCATION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")

Config = Mapping[str, int | float | str | bool]


def version_of(*, kind: str, parent: str | None, target: str, tokenizer: str, config: Config, weights_sha256: str) -> str:
    """The name of a version: 64 bits of the SHA-256 of what it is and what it came from."""
    identity = [kind, parent, target, tokenizer, dict(config), weights_sha256]
    return hashlib.sha256(msgspec.json.encode(identity, order="deterministic")).hexdigest()[:16]


class CheckpointStore:
    """The versions among `files`. `prune` leaves at most `max_bytes`.

    Whatever it is asked for, it raises StoreUnavailable while nobody answers for the files; those of a folder always do.
    """

    def __init__(self, files: Files, *, max_bytes: int = MAX_STORE_BYTES) -> None:
        self.max_bytes = max_bytes
        self._files = files

    @property
    def place(self) -> str:
        """The folder's path, or a URL without passwords."""
        return self._files.place

    def save(
        self,
        tensors: Mapping[str, Tensor],
        *,
        kind: str,
        parent: str | None,
        target: str,
        tokenizer: str,
        config: Config,
        created_at: float,
        scope: str = "all",
        span: TrafficSpan = TrafficSpan(),
        evaluation: Evaluation | None = None,
        note: str = "",
    ) -> tuple[Manifest, str]:
        """Writes a version; returns its manifest and its location.

        The same weights saved again are the same version, and the manifest of the first time stands. Raises
        CorruptCheckpoint for a weight or a figure that is not finite, OSError when the disk does not take it.
        """
        data = encode_weights(tensors)
        sha256 = hashlib.sha256(data).hexdigest()
        version = version_of(
            kind=kind,
            parent=parent,
            target=target,
            tokenizer=tokenizer,
            config=config,
            weights_sha256=sha256,
        )
        manifest = Manifest(
            version=version,
            kind=kind,
            scope=scope,
            parent=parent,
            target=target,
            tokenizer=tokenizer,
            created_at=created_at,
            weights_sha256=sha256,
            num_parameters=num_parameters(tensors),
            config=dict(config),
            span=span,
            evaluation=evaluation,
            note=note,
        )
        encoded = encode_manifest(manifest)
        try:
            manifest = self._manifest(version)
            decode_weights(self._read(version, WEIGHTS, MAX_WEIGHTS_BYTES), manifest)
        except BadCheckpoint:  # not there yet, or damaged since
            self._files.put(version, data, encoded)
        return manifest, version

    def load(
        self,
        location: str,
        *,
        target: str,
        tokenizer: str,
        kind: str,
        max_bytes: int = MAX_WEIGHTS_BYTES,
    ) -> Checkpoint:
        """The version at `location`, checked, on the CPU.

        Raises BadCheckpoint for a location that is not inside the store, ForeignCheckpoint for a version made
        for another target, tokenizer or kind, CorruptCheckpoint for one that is missing, torn, altered,
        renamed, larger than `max_bytes` or not finite.
        """
        manifest = self._manifest(location)
        _expect_made_for(manifest, {"kind": kind, "target": target, "tokenizer": tokenizer})
        weights = decode_weights(self._read(location, WEIGHTS, max_bytes, sha256=manifest.weights_sha256), manifest)
        return Checkpoint(manifest, weights)

    def manifests(self) -> list[Manifest]:
        """Of all versions here, oldest first; a version's name is its location. What is torn or altered is left out and named."""
        found = []
        for location in sorted(self._files.sizes()):
            try:
                found.append(self._manifest(location))
            except BadCheckpoint as error:
                log.warning("%s is left out: %s", location, error)
        return sorted(found, key=lambda manifest: manifest.created_at)

    def prune(self, keep: Collection[str]) -> list[str]:
        """Deletes the oldest locations but those in `keep` until the rest fits; returns which went.

        Where nobody answers, what is left to delete is left for the next time.
        """
        removed: list[str] = []
        try:
            self._files.sweep()
            sizes = self._files.sizes()
            excess = sum(sizes.values()) - self.max_bytes
            if excess > 0:
                for location in sorted(sizes.keys() - set(keep), key=self._created_at):
                    self._files.drop(location)
                    excess -= sizes[location]
                    removed.append(location)
                    if excess <= 0:
                        break
        except StoreUnavailable as error:
            log.warning("old versions stay for now: %s", error)
        return removed

    def _manifest(self, location: str) -> Manifest:
        manifest = decode_manifest(self._read(location, MANIFEST, _MAX_MANIFEST_BYTES))
        _expect_unaltered(manifest, location)
        return manifest

    def _read(self, location: str, name: str, max_bytes: int, *, sha256: str | None = None) -> bytes:
        if not _LOCATION.fullmatch(location):
            raise BadCheckpoint(f"location is {location!r}, expected the name of a folder in the store")
        try:
            return self._files.read(location, name, max_bytes, sha256=sha256)
        except (OSError, ValueError) as error:
            raise CorruptCheckpoint(f"{name} of {location}: {error}") from error

    def _created_at(self, location: str) -> float:
        try:
            return decode_manifest(self._read(location, MANIFEST, _MAX_MANIFEST_BYTES)).created_at
        except BadCheckpoint:
            return 0.0  # of no use to anybody: goes first


def _expect_unaltered(manifest: Manifest, location: str) -> None:
    version = version_of(
        kind=manifest.kind,
        parent=manifest.parent,
        target=manifest.target,
        tokenizer=manifest.tokenizer,
        config=manifest.config,
        weights_sha256=manifest.weights_sha256,
    )
    if not location == manifest.version == version:
        raise CorruptCheckpoint(f"folder {location}: the manifest says version {manifest.version}, its content makes {version}")


def _expect_made_for(manifest: Manifest, expected: Mapping[str, str]) -> None:
    for field, value in expected.items():
        found = getattr(manifest, field)
        if found != value:
            raise ForeignCheckpoint(f"{field} of {manifest.version} is {found!r}, expected {value!r}")
