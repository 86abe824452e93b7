"""Presences: who is there and what they are doing."""

from __future__ import annotations

import msgspec

from pipelines.redis_registry.server import Part
from pipelines.registry import Presence

_FORGOTTEN_AFTER = 3600.0
"""Seconds after it lapsed: a replica takes a new name at every start."""

_encoder = msgspec.msgpack.Encoder()  # unlike JSON it carries a loss of nan as it is
_decoder = msgspec.msgpack.Decoder(Presence)


class Presences(Part):
    """See `pipelines.registry.Registry`."""

    def announce(self, presence: Presence) -> None:
        keys = [self._server.key("presences"), self._server.key("presences-lapse")]
        lapses_at = presence.at + presence.ttl
        self._server.run("announce", keys, presence.name, lapses_at, _encoder.encode(presence), presence.at - _FORGOTTEN_AFTER)

    def presences(self, now: float) -> list[Presence]:
        bodies = self._server.ask(lambda redis: redis.hvals(self._server.key("presences")))
        found = [_decoder.decode(body) for body in bodies]
        return sorted((each for each in found if each.at + each.ttl >= now), key=lambda each: each.name)
