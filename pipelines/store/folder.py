"""FolderFiles: versions in a folder of this machine, or one that several machines mount. Each appears by one rename."""

from __future__ import annotations

from pathlib import Path

from pipelines.folders import drop_folder, folder_bytes, opened_folder, put_folder, read_plain, sweep_torn
from pipelines.store.files import MANIFEST, WEIGHTS


class FolderFiles:
    """`Files` under `root`, which is made when needed. Links are never followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def place(self) -> str:
        return str(self._root)

    def put(self, version: str, weights: bytes, manifest: bytes) -> None:
        put_folder(self._root, version, {WEIGHTS: weights, MANIFEST: manifest})

    def read(self, version: str, name: str, max_bytes: int, *, sha256: str | None = None) -> bytes:
        with opened_folder(self._root / version) as folder:
            return read_plain(folder, name, max_bytes)

    def sizes(self) -> dict[str, int]:
        return {path.name: folder_bytes(path) for path in self._root.glob("[!.]*") if path.is_dir()}

    def drop(self, version: str) -> None:
        drop_folder(self._root, version)

    def sweep(self) -> None:
        sweep_torn(self._root)
