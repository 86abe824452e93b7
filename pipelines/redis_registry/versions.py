"""Versions: the checkpoints of each slot, the aliases that point at them, the events that tell of both."""

from __future__ import annotations

import time
from typing import Any, cast

import msgspec

from pipelines.checkpoint import Manifest, decode_manifest, encode_manifest
from pipelines.errors import RegistryError, StaleGeneration, Superseded, UnknownVersion
from pipelines.redis_registry.server import Part, slot_name, slot_of
from pipelines.registry import Event, ShareOf, Slot, SlotState, Stage, Switch

_SHARED = ("slots", "order", "events", "event-id")
_OF_SLOT = ("state", "versions", "manifests", "locations", "parents", "quarantined", "lead", "reached")


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
        guards = (expected_generation, _or_none(fence))
        answer = self._change("publish", slot, *_version(slot, manifest, location), *guards, detail, time.time())
        return _moved(answer, slot, manifest.version, expected_generation, fence)

    def stage(
        self,
        slot: Slot,
        version: str,
        *,
        share: float = 0.0,
        share_of: ShareOf = "requests",
        expected_generation: int | None = None,
        detail: str = "",
        fence: int | None = None,
    ) -> SlotState:
        guards = (_or_none(expected_generation), _or_none(fence))
        answer = self._change("stage", slot, version, share, share_of, *guards, detail, time.time())
        return _moved(answer, slot, version, expected_generation, fence)

    def promote(
        self, slot: Slot, version: str, *, expected_generation: int | None = None, detail: str = "", fence: int | None = None
    ) -> SlotState:
        guards = (_or_none(expected_generation), _or_none(fence))
        answer = self._change("promote", slot, version, *guards, detail, time.time())
        return _moved(answer, slot, version, expected_generation, fence)

    def withdraw(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        answer = self._change("withdraw", slot, _or_none(expected_generation), detail, time.time())
        if answer[0] == b"nothing":
            raise RegistryError(f"nothing to withdraw: no candidate in {slot}")
        return _moved(answer, slot, "", expected_generation)

    def switch(self, slot: Slot, switch: Switch, on: bool, *, detail: str = "") -> SlotState:
        return _state(self._change("switch", slot, switch, int(on), detail, time.time())[1:])

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
        answer = self._change("rollback", slot, _or_none(expected_generation), detail, time.time())
        if answer[0] == b"nothing":
            raise RegistryError(f"nothing to roll back: no champion in {slot}")
        if answer[0] == b"no ancestor":
            raise RegistryError(f"nothing to go back to: {answer[1].decode()} has no sound ancestor")
        return _moved(answer, slot, "", expected_generation)

    def state(self, slot: Slot) -> SlotState:
        key = self._server.key("state", slot)
        return _state(self._server.ask(lambda redis: redis.hmget(key, list(_FIELDS))))

    def stages(self, slot: Slot) -> dict[str, Stage]:
        found = self._server.ask(lambda redis: redis.hgetall(self._server.key("reached", slot)))
        return {version.decode(): cast(Stage, stage.decode()) for version, stage in found.items()}

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

    def wait(self, after: int, seconds: float) -> bool:
        """Is woken by the event itself."""
        key = self._server.key("events")
        if self.events(after, 1):
            return True
        # 0 would be for ever; the answer has to come before the connection is given up
        patience = max(1, int(1000 * min(seconds, self._server.address.timeout / 2)))
        return bool(self._server.ask(lambda redis: redis.xread({key: f"{after}-0"}, count=1, block=patience)))

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


def _moved(answer: list[Any], slot: Slot, version: str, expected: int | None, fence: int | None = None) -> SlotState:
    """The slot as a change left it. Raises what the change was refused for."""
    match answer[0]:
        case b"superseded":
            newest, leader = answer[1], answer[2].decode()
            raise Superseded(f"the fence is {newest} ({leader} leads), expected {fence}: another trainer has taken the lead")
        case b"stale":
            raise StaleGeneration(f"generation is {answer[1]}, expected {expected}: the slot has moved")
        case b"quarantined":
            raise RegistryError(f"version {version} is quarantined or descends from one that is")
        case b"unknown":
            raise UnknownVersion(f"version is {version!r}, expected one recorded in {slot}")
        case b"champion":
            raise RegistryError(f"version {version} is champion already, expected another one")
    return _state(answer[1:])


_FIELDS = SlotState.__struct_fields__


def _state(values: list[bytes | None]) -> SlotState:
    found = {name: value.decode() for name, value in zip(_FIELDS, values, strict=True) if value}
    return msgspec.convert(found, SlotState, strict=False)


def _or_none(value: int | None) -> int | str:
    """As the scripts take it."""
    return "" if value is None else value


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
