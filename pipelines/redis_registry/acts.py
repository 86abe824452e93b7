"""Acts: the audit log."""

from __future__ import annotations

import msgspec

from pipelines.redis_registry.server import Part
from pipelines.registry import Act

_KEPT = 10_000


class Acts(Part):
    """See `pipelines.registry.Registry`."""

    def note_act(self, act: Act) -> None:
        self._server.run("note_act", [self._server.key("acts")], msgspec.json.encode(act), _KEPT)

    def acts(self, limit: int = 100) -> list[Act]:
        if limit <= 0:
            return []
        lines = self._server.ask(lambda redis: redis.lrange(self._server.key("acts"), 0, limit - 1))
        return [msgspec.json.decode(line, type=Act) for line in lines]
