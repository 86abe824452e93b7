"""The embedded registry: one SQLite file of its own, shared by several processes."""

from __future__ import annotations

from pathlib import Path

from pipelines.sqlite_registry.acts import Acts
from pipelines.sqlite_registry.leads import Leads
from pipelines.sqlite_registry.presences import Presences
from pipelines.sqlite_registry.runs import Runs
from pipelines.sqlite_registry.shelf import registry_file
from pipelines.sqlite_registry.versions import Versions

__all__ = ["SqliteRegistry"]


class SqliteRegistry(Versions, Leads, Runs, Presences, Acts):
    """A `Registry` in one file, opened (its folders created) at the first call."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(registry_file(path))
