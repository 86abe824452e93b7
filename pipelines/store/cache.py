"""WeightsCache: copies of weights from afar, on this machine's disk, named by their content."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from pipelines.folders import opened_folder, read_plain

log = logging.getLogger(__name__)

MAX_CACHE_BYTES = 4 << 30


class WeightsCache:
    """At most `max_bytes` of them: what was not used for the longest time goes first.

    Any number of processes may use it. A cache that cannot be read or written costs time and nothing else.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @classmethod
    def of_this_user(cls) -> WeightsCache:
        """In `$XDG_CACHE_HOME/everdraft` (`~/.cache/everdraft`), or for temporary files where this user has no home."""
        try:
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:
            folder = Path(tempfile.gettempdir())
        return cls(folder / "everdraft" / "weights")

    def get(self, sha256: str, max_bytes: int) -> bytes | None:
        """The bytes with this hash; None if they are not here, or no longer what they were. Raises ValueError for more bytes."""
        try:
            with opened_folder(self._folder) as folder:
                data = read_plain(folder, sha256, max_bytes)
            if hashlib.sha256(data).hexdigest() != sha256:
                log.warning("%s was altered: fetched anew", self._folder / sha256)
                (self._folder / sha256).unlink()
                return None
            os.utime(self._folder / sha256)
        except OSError:
            return None
        return data

    def put(self, sha256: str, data: bytes) -> None:
        """Keeps a copy, if it fits."""
        if len(data) > self._max_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(sha256, data)
            self._forget()
        except OSError as error:
            log.warning("weights are not kept: %s", error)

    def _write(self, sha256: str, data: bytes) -> None:
        handle, made = tempfile.mkstemp(dir=self._folder)
        try:
            with open(handle, "wb") as out:
                out.write(data)
            os.rename(made, self._folder / sha256)
        except BaseException:
            os.unlink(made)
            raise

    def _forget(self) -> None:
        kept = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process forgets, too
                status = path.stat()
                kept.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in kept) - self._max_bytes
        for _, size, path in sorted(kept):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
