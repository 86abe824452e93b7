"""Presences: who is there and what they are doing."""

from __future__ import annotations

import msgspec

from pipelines.registry import Presence
from pipelines.sqlite_registry.shelf import Shelf

_FORGOTTEN_AFTER = 3600.0
"""Seconds after it lapsed: a replica takes a new name at every start."""

_encoder = msgspec.msgpack.Encoder()  # unlike JSON it carries a loss of nan as it is
_decoder = msgspec.msgpack.Decoder(Presence)


class Presences(Shelf):
    """See `pipelines.registry.Registry`."""

    def announce(self, presence: Presence) -> None:
        row = (presence.name, presence.at + presence.ttl, _encoder.encode(presence))
        with self._change() as connection:
            connection.execute("REPLACE INTO presences (name, lapses_at, body) VALUES (?, ?, ?)", row)
            forgotten = presence.at - _FORGOTTEN_AFTER
            connection.execute("DELETE FROM presences WHERE lapses_at < ?", (forgotten,))

    def presences(self, now: float) -> list[Presence]:
        rows = self._rows("SELECT body FROM presences WHERE lapses_at >= ? ORDER BY name", now)
        return [_decoder.decode(body) for (body,) in rows]
