"""Spool: a folder in which traces wait for the broker, one SQLite traffic log for each process that writes there."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_MOST = 64


class Spool:
    """Takes the first file that no other process has, with what a dead one left in it.

    Raises OSError when the folder cannot be written, or all files are taken.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(_MOST):
            lock = os.open(folder / f"spool-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self._lock: int | None = lock
            self.path = folder / f"spool-{number}.db"
            return
        raise OSError(f"{folder}: {_MOST} other processes hold all the spools there may be")

    def release(self) -> None:
        """Leaves the file to whoever comes next."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
