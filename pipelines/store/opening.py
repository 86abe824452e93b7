"""Opening a store: what a setting says, folder or URL, decides which files it has."""

from __future__ import annotations

from pathlib import Path

from pipelines.store.cache import WeightsCache
from pipelines.store.checkpoints import MAX_STORE_BYTES, CheckpointStore
from pipelines.store.folder import FolderFiles
from pipelines.store.remote import RemoteFiles


def open_store(place: str | Path, *, max_bytes: int = MAX_STORE_BYTES) -> CheckpointStore:
    """The store in a folder, or at a URL that fsspec knows: `s3://bucket/prefix`. Nothing is read or written yet.

    Raises BadUrl.
    """
    if "://" not in str(place):
        return CheckpointStore(FolderFiles(Path(place)), max_bytes=max_bytes)
    return CheckpointStore(RemoteFiles(str(place), WeightsCache.of_this_user()), max_bytes=max_bytes)
