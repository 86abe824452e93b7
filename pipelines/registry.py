"""The registry: which speculator versions exist, which one is in service, who runs what, and what was asked for.

It holds pointers and small records; weights live in a `CheckpointStore`. `open_registry(url)` chooses the back end by URL
(`sqlite:///path/registry.db`). Every back end passes `tests/pipelines/contract_registry.py`.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from pipelines.checkpoint import Manifest

Alias = Literal["champion", "candidate", "previous"]
RunState = Literal["queued", "collecting", "training", "judging", "published", "rejected", "failed", "cancelled"]
OPEN_STATES: frozenset[RunState] = frozenset({"queued", "collecting", "training", "judging"})


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias belongs to: a changed target, another kind or another tenant opens another, empty slot."""

    target: str
    kind: str
    scope: str = "all"
    """`all`, or the name of one tenant."""


class SlotState(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as it stands. `generation` grows by one with every move of an alias; 0: nothing was ever published."""

    generation: int = 0
    champion: str | None = None
    candidate: str | None = None
    previous: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a slot, in order."""

    id: int
    at: float
    slot: Slot
    generation: int
    action: str
    """`published`, `promoted`, `rolled_back`, `quarantined`, `rejected`."""
    version: str | None
    detail: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A retraining somebody asked for."""

    run_id: str
    slot: Slot
    reason: str
    state: RunState
    created_at: float
    updated_at: float
    detail: str = ""
    version: str | None = None
    """The version that came of it."""


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A process that says what it is doing; it lapses unless repeated."""

    name: str
    """`serving:<id>` or `trainer:<id>`."""
    at: float
    ttl: float
    """Seconds after `at` for which it holds."""
    version: str | None = None
    generation: int = 0
    figures: dict[str, float] = {}
    """Small numbers worth showing: step, loss, acceptance length, tokens per second, …"""
    state: str = ""


class Registry(Protocol):
    """All methods raise RegistryError for what the registry refuses. Safe to use from several processes at once."""

    def publish(self, slot: Slot, manifest: Manifest, location: str, *, expected_generation: int, detail: str = "") -> SlotState:
        """Records the version and makes it champion; the old champion becomes `previous`.

        Raises StaleGeneration if the slot moved since `expected_generation`; RegistryError if the version is quarantined.
        """

    def record(self, slot: Slot, manifest: Manifest, location: str) -> None:
        """Records a version without moving an alias. Recording the same version again changes nothing."""

    def reject(self, slot: Slot, manifest: Manifest, detail: str) -> None:
        """Notes, as an event, that the gate turned a candidate away."""

    def state(self, slot: Slot) -> SlotState: ...

    def slots(self) -> list[Slot]: ...

    def manifest(self, slot: Slot, version: str) -> Manifest:
        """Raises UnknownVersion."""

    def location(self, slot: Slot, version: str) -> str:
        """Where the weights are, as the publisher named it. Raises UnknownVersion."""

    def versions(self, slot: Slot) -> list[Manifest]:
        """Oldest first."""

    def quarantined(self, slot: Slot) -> frozenset[str]: ...

    def rollback(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        """Quarantines the champion and its descendants; `previous`, or else its nearest sound ancestor, becomes champion.

        Raises RegistryError when there is nothing to go back to, StaleGeneration when the slot moved.
        """

    def events(self, after: int = 0, limit: int = 100) -> list[Event]:
        """Events with id > `after`, oldest first."""

    def announce(self, presence: Presence) -> None: ...

    def presences(self, now: float) -> list[Presence]:
        """Those that have not lapsed at `now` (Unix seconds)."""

    def request_run(self, slot: Slot, reason: str, *, idempotency_key: str | None = None) -> Run:
        """Queues a retraining; the run that is open already is returned instead of a second one."""

    def claim_run(self, slot: Slot) -> Run | None:
        """The open run of the slot, if any: oldest first, also one that a killed trainer left behind."""

    def update_run(self, run_id: str, state: RunState, *, detail: str = "", version: str | None = None) -> Run: ...

    def run(self, run_id: str) -> Run: ...

    def runs(self, limit: int = 20) -> list[Run]:
        """Newest first."""

    def close(self) -> None: ...


def open_registry(url: str) -> Registry:
    """The registry at `url`. Raises BadUrl for a scheme without a back end."""
    from pipelines.sqlite_registry import SqliteRegistry
    from pipelines.traffic_log import sqlite_path

    return SqliteRegistry(sqlite_path(url, "registry"))
