"""Versions: the checkpoints of each slot, the aliases that point at them, the events that tell of both."""

from __future__ import annotations

import sqlite3
from typing import Any

from pipelines.checkpoint import Manifest, decode_manifest, encode_manifest
from pipelines.errors import RegistryError, UnknownVersion
from pipelines.registry import Event, Slot, SlotState
from pipelines.sqlite_registry.aliases import move, note, slot_state
from pipelines.sqlite_registry.leads import check_fence
from pipelines.sqlite_registry.lineage import family, is_known, sound_ancestor
from pipelines.sqlite_registry.shelf import Shelf, slot_id

_OF_SLOT = "FROM versions JOIN slots ON slots.id = versions.slot WHERE target = ? AND kind = ? AND scope = ?"


class Versions(Shelf):
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
        with self._change() as connection:
            row = slot_id(connection, slot)
            check_fence(connection, row, fence)
            before = slot_state(connection, row, expected_generation)
            if before.champion == manifest.version:
                return before
            _record(connection, row, slot, manifest, location)
            if is_known(connection, row, manifest.version, quarantined=True):
                raise RegistryError(f"version {manifest.version} is quarantined or descends from one that is")
            after = SlotState(generation=before.generation + 1, champion=manifest.version, previous=before.champion)
            move(connection, row, after)
            note(connection, row, after.generation, "published", manifest.version, detail)
            return after

    def record(self, slot: Slot, manifest: Manifest, location: str) -> None:
        with self._change() as connection:
            _record(connection, slot_id(connection, slot), slot, manifest, location)

    def reject(self, slot: Slot, manifest: Manifest, detail: str) -> None:
        with self._change() as connection:
            row = slot_id(connection, slot)
            generation = slot_state(connection, row).generation
            note(connection, row, generation, "rejected", manifest.version, detail)

    def rollback(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        with self._change() as connection:
            row = slot_id(connection, slot)
            before = slot_state(connection, row, expected_generation)
            if before.champion is None:
                raise RegistryError(f"nothing to roll back: no champion in {slot}")
            generation = before.generation + 1
            for version in family(connection, row, before.champion):
                connection.execute("UPDATE versions SET quarantined = 1 WHERE slot = ? AND version = ?", (row, version))
                note(connection, row, generation, "quarantined", version, detail)
            back_to = before.previous
            if back_to is None or not is_known(connection, row, back_to, quarantined=False):
                back_to = sound_ancestor(connection, row, before.champion)
            if back_to is None:
                raise RegistryError(f"nothing to go back to: {before.champion} has no sound ancestor")
            after = SlotState(generation=generation, champion=back_to)
            move(connection, row, after)
            note(connection, row, generation, "rolled_back", back_to, detail)
            return after

    def state(self, slot: Slot) -> SlotState:
        rows = self._rows(
            "SELECT generation, champion, previous FROM slots WHERE target = ? AND kind = ? AND scope = ?",
            *_key(slot),
        )
        if not rows:
            return SlotState()
        ((generation, champion, previous),) = rows
        return SlotState(generation=generation, champion=champion, previous=previous)

    def slots(self) -> list[Slot]:
        rows = self._rows("SELECT target, kind, scope FROM slots ORDER BY id")
        return [Slot(target=target, kind=kind, scope=scope) for target, kind, scope in rows]

    def manifest(self, slot: Slot, version: str) -> Manifest:
        return decode_manifest(self._of_version("manifest", slot, version))

    def location(self, slot: Slot, version: str) -> str:
        return str(self._of_version("location", slot, version))

    def versions(self, slot: Slot) -> list[Manifest]:
        rows = self._rows(f"SELECT manifest {_OF_SLOT} ORDER BY versions.id", *_key(slot))
        return [decode_manifest(data) for (data,) in rows]

    def quarantined(self, slot: Slot) -> frozenset[str]:
        rows = self._rows(f"SELECT version {_OF_SLOT} AND quarantined", *_key(slot))
        return frozenset(version for (version,) in rows)

    def events(self, after: int = 0, limit: int = 100) -> list[Event]:
        rows = self._rows(
            "SELECT events.id, at, target, kind, scope, events.generation, action, version, detail"
            " FROM events JOIN slots ON slots.id = events.slot"
            " WHERE events.id > ? ORDER BY events.id LIMIT ?",
            *(after, max(0, limit)),
        )
        return [_event(row) for row in rows]

    def _of_version(self, column: str, slot: Slot, version: str) -> Any:
        rows = self._rows(f"SELECT {column} {_OF_SLOT} AND version = ?", *_key(slot), version)
        if not rows:
            raise UnknownVersion(f"version is {version!r}, expected one recorded in {slot}")
        return rows[0][0]


def _record(connection: sqlite3.Connection, row: int, slot: Slot, manifest: Manifest, location: str) -> None:
    for field, found, expected in (
        ("target", manifest.target, slot.target),
        ("kind", manifest.kind, slot.kind),
    ):
        if found != expected:
            raise RegistryError(f"{field} of {manifest.version} is {found!r}, its slot's is {expected!r}")
    connection.execute(
        "INSERT INTO versions (slot, version, parent, quarantined, location, manifest)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (slot, version) DO NOTHING",
        (
            row,
            manifest.version,
            manifest.parent,
            is_known(connection, row, manifest.parent, quarantined=True),
            location,
            encode_manifest(manifest),
        ),
    )


def _key(slot: Slot) -> tuple[str, str, str]:
    return slot.target, slot.kind, slot.scope


def _event(row: tuple[Any, ...]) -> Event:
    number, at, target, kind, scope, generation, action, version, detail = row
    return Event(
        id=number,
        at=at,
        slot=Slot(target=target, kind=kind, scope=scope),
        generation=generation,
        action=action,
        version=version,
        detail=detail,
    )
