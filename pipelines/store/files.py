"""Files: where the files of versions lie, each version whole or not at all."""

from __future__ import annotations

from typing import Protocol

WEIGHTS = "weights.safetensors"
MANIFEST = "manifest.json"


class Files(Protocol):
    """Two small files for each version. Whoever calls has made sure that a version's name is a plain name.

    Where others answer for the files, any of these raises StoreUnavailable while they do not.
    """

    @property
    def place(self) -> str:
        """For people: a path or a URL, without passwords."""

    def put(self, version: str, weights: bytes, manifest: bytes) -> None:
        """Writes a version durably; one of that name is replaced. Raises OSError when the disk does not take it."""

    def read(self, version: str, name: str, max_bytes: int, *, sha256: str | None = None) -> bytes:
        """A file of a version. sha256: of its content, where that is known: a copy from nearer by will do.

        Raises OSError for what is not there, ValueError for what is too large or no file.
        """

    def sizes(self) -> dict[str, int]:
        """Bytes of every version that is here."""

    def drop(self, version: str) -> None:
        """Deletes a version, if it is there."""

    def sweep(self) -> None:
        """Deletes what killed processes left half written or half deleted."""
