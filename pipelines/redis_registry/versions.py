"""Versions: the checkpoints of each slot, the aliases that point at them, the events that tell of both."""

from __future__ import annotations

import time
from typing import Any

from pipelines.checkpoint import Manifest, decode_manifest, encode_manifest
from pipelines.errors import RegistryError, StaleGeneration, Superseded, UnknownVersion
from pipelines.redis_registry.server import Part, slot_name, slot_of
from pipelines.registry import Event, Slot, SlotState

_SHARED = ("slots", "order", "events", "event-id")
_OF_SLOT = ("state", "versions", "manifests", "locations", "parents", "quarantined", "lead")


class Versions(Part):
    """See `pipelines.registry.Registry`."""

    def publish(
        self,
        slot: Slot,
        manifest: Manifest,
        location: str,
        *,
        expected_generation: int,
        detail: str = "",
        fence: int | None = None,
    ) -> SlotState:
        guards = (expected_generation, "" if fence is None else fence)
        answer = self._change("publish", slot, *_version(slot, manifest, location), *guards, detail, time.time())
        if answer[0] == b"superseded":
            newest, leader = answer[1], answer[2].decode()
            raise Superseded(f"the fence is {newest} ({leader} leads), expected {fence}: another trainer has taken the lead")
        if answer[0] == b"quarantined":
            raise RegistryError(f"version {manifest.version} is quarantined or descends from one that is")
        return _moved(answer, expected_generation)

    def lead(self, slot: Slot, name: str, ttl: float) -> int | None:
        fence: int = self._change("lead", slot, name, ttl)
        return fence or None

    def resign(self, slot: Slot, name: str) -> None:
        self._change("lead", slot, name, 0)

    def record(self, slot: Slot, manifest: Manifest, location: str) -> None:
        self._change("record", slot, *_version(slot, manifest, location))

    def reject(self, slot: Slot, manifest: Manifest, detail: str) -> None:
        self._change("reject", slot, manifest.version, detail, time.time())

    def rollback(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        expected = "" if expected_generation is None else expected_generation
        answer = self._change("rollback", slot, expected, detail, time.time())
        if answer[0] == b"nothing":
            raise RegistryError(f"nothing to roll back: no champion in {slot}")
        if answer[0] == b"no ancestor":
            raise RegistryError(f"nothing to go back to: {answer[1].decode()} has no sound ancestor")
        return _moved(answer, expected_generation)

    def state(self, slot: Slot) -> SlotState:
        key = self._server.key("state", slot)
        generation, champion, previous = self._server.ask(lambda redis: redis.hmget(key, ["generation", "champion", "previous"]))
        return _state(generation or 0, champion or b"", previous or b"")

    def slots(self) -> list[Slot]:
        key = self._server.key("slots")
        return [slot_of(name) for name in self._server.ask(lambda redis: redis.zrange(key, 0, -1))]

    def manifest(self, slot: Slot, version: str) -> Manifest:
        return decode_manifest(self._of_version("manifests", slot, version))

    def location(self, slot: Slot, version: str) -> str:
        return self._of_version("locations", slot, version).decode()

    def versions(self, slot: Slot) -> list[Manifest]:
        names = self._server.ask(lambda redis: redis.zrange(self._server.key("versions", slot), 0, -1))
        if not names:
            return []
        bodies = self._server.ask(lambda redis: redis.hmget(self._server.key("manifests", slot), names))
        return [decode_manifest(body) for body in bodies]

    def quarantined(self, slot: Slot) -> frozenset[str]:
        key = self._server.key("quarantined", slot)
        return frozenset(version.decode() for version in self._server.ask(lambda redis: redis.smembers(key)))

    def events(self, after: int = 0, limit: int = 100) -> list[Event]:
        if limit <= 0:
            return []
        key = self._server.key("events")
        return [_event(*entry) for entry in self._server.ask(lambda redis: redis.xrange(key, f"({after}-0", "+", limit))]

    def _change(self, script: str, slot: Slot, *arguments: Any) -> Any:
        server = self._server
        keys = [*(server.key(name) for name in _SHARED), *(server.key(name, slot) for name in _OF_SLOT)]
        return server.run(script, keys, slot_name(slot), *arguments)

    def _of_version(self, name: str, slot: Slot, version: str) -> bytes:
        found: bytes | None = self._server.ask(lambda redis: redis.hget(self._server.key(name, slot), version))
        if found is None:
            raise UnknownVersion(f"version is {version!r}, expected one recorded in {slot}")
        return found


def _version(slot: Slot, manifest: Manifest, location: str) -> tuple[str, str, str, bytes]:
    """Of a manifest, for the scripts. Raises RegistryError if it was made for another slot."""
    for field, found, expected in (
        ("target", manifest.target, slot.target),
        ("kind", manifest.kind, slot.kind),
    ):
        if found != expected:
            raise RegistryError(f"{field} of {manifest.version} is {found!r}, its slot's is {expected!r}")
    return manifest.version, manifest.parent or "", location, encode_manifest(manifest)


def _moved(answer: list[Any], expected: int | None) -> SlotState:
    if answer[0] == b"stale":
        raise StaleGeneration(f"generation is {answer[1]}, expected {expected}: the slot has moved")
    return _state(*answer[1:])


def _state(generation: bytes | int, champion: bytes, previous: bytes) -> SlotState:
    return SlotState(generation=int(generation), champion=champion.decode() or None, previous=previous.decode() or None)


def _event(entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    texts = {name.decode(): value.decode() for name, value in fields.items()}
    return Event(
        id=int(entry_id.partition(b"-")[0]),
        at=float(texts["at"]),
        slot=slot_of(fields[b"slot"]),
        generation=int(texts["generation"]),
        action=texts["action"],
        version=texts["version"] or None,
        detail=texts["detail"],
    )
