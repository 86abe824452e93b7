"""Versions: the checkpoints of each slot, the aliases that point at them, the events that tell of both."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from msgspec.structs import replace

from pipelines.checkpoint import Manifest, decode_manifest, encode_manifest
from pipelines.errors import RegistryError, UnknownVersion
from pipelines.registry import Event, ShareOf, Slot, SlotState, Stage, Switch
from pipelines.sqlite_registry.aliases import COLUMNS, move, note, reached, slot_state, state_of
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
            return _crowned(connection, row, before, manifest.version, "published", detail)

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
        with self._change() as connection:
            row = slot_id(connection, slot)
            check_fence(connection, row, fence)
            before = slot_state(connection, row, expected_generation)
            _expect_sound(connection, row, slot, version)
            if before.champion == version:
                raise RegistryError(f"version {version} is champion already, expected another one")
            after = replace(before, generation=before.generation + 1, candidate=version, share=share, share_of=share_of)
            _passed_over(connection, row, before)
            move(connection, row, after)
            note(connection, row, after.generation, "canary" if share else "staged", version, detail)
            return after

    def promote(
        self, slot: Slot, version: str, *, expected_generation: int | None = None, detail: str = "", fence: int | None = None
    ) -> SlotState:
        with self._change() as connection:
            row = slot_id(connection, slot)
            check_fence(connection, row, fence)
            before = slot_state(connection, row, expected_generation)
            _expect_sound(connection, row, slot, version)
            if before.champion == version:
                return before
            return _crowned(connection, row, before, version, "promoted", detail)

    def withdraw(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        with self._change() as connection:
            row = slot_id(connection, slot)
            before = slot_state(connection, row, expected_generation)
            if before.candidate is None:
                raise RegistryError(f"nothing to withdraw: no candidate in {slot}")
            after = replace(before, generation=before.generation + 1, candidate=None, share=0.0, share_of="requests")
            _quarantine(connection, row, before.candidate, after.generation, detail)
            move(connection, row, after)
            note(connection, row, after.generation, "withdrawn", before.candidate, detail)
            return after

    def switch(self, slot: Slot, switch: Switch, on: bool, *, detail: str = "") -> SlotState:
        with self._change() as connection:
            row = slot_id(connection, slot)
            before = slot_state(connection, row)
            after = replace(before, **{switch: on})
            if after != before:
                move(connection, row, after)
                note(connection, row, after.generation, f"{switch}_{'on' if on else 'off'}", None, detail)
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
            fallen = _quarantine(connection, row, before.champion, generation, detail)
            back_to = before.previous
            if back_to is None or not is_known(connection, row, back_to, quarantined=False):
                back_to = sound_ancestor(connection, row, before.champion)
            if back_to is None:
                raise RegistryError(f"nothing to go back to: {before.champion} has no sound ancestor")
            after = replace(before, generation=generation, champion=back_to, previous=None)
            if after.candidate in (*fallen, back_to):
                after = replace(after, candidate=None, share=0.0, share_of="requests")
            move(connection, row, after)
            note(connection, row, generation, "rolled_back", back_to, detail)
            return after

    def state(self, slot: Slot) -> SlotState:
        rows = self._rows(f"SELECT {COLUMNS} FROM slots WHERE target = ? AND kind = ? AND scope = ?", *_key(slot))
        return state_of(rows[0]) if rows else SlotState()

    def stages(self, slot: Slot) -> dict[str, Stage]:
        return dict(self._rows(f"SELECT version, stage {_OF_SLOT} AND stage IS NOT NULL ORDER BY versions.id", *_key(slot)))

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

    def wait(self, after: int, seconds: float) -> bool:
        if not self.events(after, 1):
            time.sleep(seconds)
        return bool(self.events(after, 1))

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


def _expect_sound(connection: sqlite3.Connection, row: int, slot: Slot, version: str) -> None:
    if is_known(connection, row, version, quarantined=True):
        raise RegistryError(f"version {version} is quarantined or descends from one that is")
    if not is_known(connection, row, version, quarantined=False):
        raise UnknownVersion(f"version is {version!r}, expected one recorded in {slot}")


def _crowned(connection: sqlite3.Connection, row: int, before: SlotState, version: str, action: str, detail: str) -> SlotState:
    """The slot with a recorded version as champion. Raises RegistryError if it is quarantined."""
    if is_known(connection, row, version, quarantined=True):
        raise RegistryError(f"version {version} is quarantined or descends from one that is")
    after = replace(
        before,
        generation=before.generation + 1,
        champion=version,
        candidate=None,
        previous=before.champion,
        share=0.0,
        share_of="requests",
    )
    _passed_over(connection, row, before)
    move(connection, row, after)
    note(connection, row, after.generation, action, version, detail)
    return after


def _passed_over(connection: sqlite3.Connection, row: int, before: SlotState) -> None:
    """A candidate that another takes the place of serves no longer."""
    reached(connection, row, before.candidate, "candidate")


def _quarantine(connection: sqlite3.Connection, row: int, version: str, generation: int, detail: str) -> list[str]:
    """The version and its descendants, which are never champion again."""
    fallen = family(connection, row, version)
    for each in fallen:
        # what never passed the gate was never in a stage, and is in none now
        connection.execute(
            "UPDATE versions SET quarantined = 1, stage = CASE WHEN stage IS NULL THEN NULL ELSE 'rolled_back' END"
            " WHERE slot = ? AND version = ?",
            (row, each),
        )
        note(connection, row, generation, "quarantined", each, detail)
    return fallen


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
