"""Acts: the audit log."""

from __future__ import annotations

import msgspec

from pipelines.registry import Act
from pipelines.sqlite_registry.shelf import Shelf

_KEPT = 10_000


class Acts(Shelf):
    """See `pipelines.registry.Registry`."""

    def note_act(self, act: Act) -> None:
        with self._change() as connection:
            cursor = connection.execute("INSERT INTO acts (body) VALUES (?)", (msgspec.json.encode(act),))
            assert cursor.lastrowid is not None
            connection.execute("DELETE FROM acts WHERE id <= ?", (cursor.lastrowid - _KEPT,))

    def acts(self, limit: int = 100) -> list[Act]:
        rows = self._rows("SELECT body FROM acts ORDER BY id DESC LIMIT ?", max(0, limit))
        return [msgspec.json.decode(body, type=Act) for (body,) in rows]
