"""The checkpoint store: the weights themselves, in a folder or an object store that servers and trainers share."""

from __future__ import annotations

from pipelines.store.checkpoints import MAX_STORE_BYTES, MAX_WEIGHTS_BYTES, CheckpointStore, version_of
from pipelines.store.files import MANIFEST, WEIGHTS
from pipelines.store.opening import open_store

__all__ = ["MANIFEST", "MAX_STORE_BYTES", "MAX_WEIGHTS_BYTES", "WEIGHTS", "CheckpointStore", "open_store", "version_of"]
