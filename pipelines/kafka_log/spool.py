"""Spool: a folder in which traces wait for the broker, one SQLite traffic log for each process that writes there."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.folders import try_lock

_MOST = 64


class Spool:
    """Takes the first file that no other process has, with what a dead one left in it.

    Raises OSError when the folder cannot be written, or all files are taken.
    """

    def __init__(self, folder: Path) -> None:
        for number in range(_MOST):
            self._lock = try_lock(folder / f"spool-{number}.lock")
            if self._lock is not None:
                self.path = folder / f"spool-{number}.db"
                return
        raise OSError(f"{folder}: {_MOST} other processes hold all the spools there may be")

    def release(self) -> None:
        """Leaves the file to whoever comes next."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
