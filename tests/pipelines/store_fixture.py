"""Small weights, saving and loading them for one target, and what may happen to them behind the store's back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from fsspec.core import url_to_fs
from torch import Tensor

from pipelines.checkpoint import Manifest
from pipelines.store import MANIFEST, WEIGHTS, CheckpointStore, version_of

ROOT = Path(__file__).parents[2]
MADE_FOR = {"target": "target-1", "tokenizer": "tokenizer-1", "kind": "medusa"}


def make_weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(8, 8, generator=generator), "b": torch.randn(8, generator=generator)}


def save(store: CheckpointStore, weights: Mapping[str, Tensor], **fields: Any) -> tuple[Manifest, str]:
    return store.save(weights, **{**MADE_FOR, "parent": None, "config": {}, "created_at": 1.0, **fields})


def load(store: CheckpointStore, location: str, **fields: Any) -> tuple[Manifest, Mapping[str, Tensor]]:
    checkpoint = store.load(location, **{**MADE_FOR, **fields})
    return checkpoint.manifest, checkpoint.weights


def locations(store: CheckpointStore) -> list[str]:
    """Of what can be loaded."""
    return [manifest.version for manifest in store.manifests()]


class BehindItsBack:
    """Whatever anybody with access to a store may do there: it is found in the folder or URL by fsspec."""

    def __init__(self, place: str) -> None:
        self.fs, self.root = url_to_fs(place)

    def path(self, location: str, name: str = "") -> str:
        return f"{self.root}/{location}/{name}".rstrip("/")

    def read(self, location: str, name: str) -> bytes:
        return bytes(self.fs.cat_file(self.path(location, name)))

    def write(self, location: str, name: str, data: bytes) -> None:
        self.fs.makedirs(self.path(location), exist_ok=True)
        self.fs.pipe_file(self.path(location, name), data)

    def remove(self, location: str, name: str) -> None:
        self.fs.rm_file(self.path(location, name))

    def rename(self, location: str, other: str) -> None:
        for name in (WEIGHTS, MANIFEST):
            self.write(other, name, self.read(location, name))
            self.remove(location, name)

    def rewrite(self, location: str, **fields: Any) -> None:
        """Other values in a manifest."""
        manifest = msgspec.json.decode(self.read(location, MANIFEST))
        self.write(location, MANIFEST, msgspec.json.encode(manifest | fields))

    def forge(self, data: bytes, num_parameters: int) -> str:
        """A version whose manifest vouches for any bytes: what a faulty publisher could write."""
        made: dict[str, Any] = {**MADE_FOR, "parent": None, "config": {}}
        made["weights_sha256"] = hashlib.sha256(data).hexdigest()
        location = version_of(**made)
        manifest = {**made, "version": location, "created_at": 1.0, "num_parameters": num_parameters}
        self.write(location, WEIGHTS, data)
        self.write(location, MANIFEST, msgspec.json.encode(manifest))
        return location

    def num_bytes(self, location: str) -> int:
        return sum(len(self.read(location, name)) for name in (WEIGHTS, MANIFEST))
