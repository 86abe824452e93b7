"""The registry: which speculator versions exist, which is in service, who runs what, and what was asked for.

It holds pointers and small records; weights live in a `CheckpointStore`. `open_registry(url)` chooses the
back end by URL (`sqlite:///path/registry.db`, `redis://host:port/0`). Every back end passes
`tests/pipelines/contract_registry.py`.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from pipelines.checkpoint import Manifest

Alias = Literal["champion", "candidate", "previous"]
RunState = Literal["queued", "collecting", "training", "judging", "published", "rejected", "failed", "cancelled"]
OPEN_STATES: frozenset[RunState] = frozenset({"queued", "collecting", "training", "judging"})


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias belongs to: a changed target, another kind or another tenant has another, empty slot."""

    target: str
    kind: str
    scope: str = "all"
    """`all`, or the name of one tenant."""


class SlotState(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as it stands."""

    generation: int = 0
    """Grows by one with every move of an alias; 0: nothing was ever published."""
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
    """`published`, `rejected`, `quarantined` (one for each version) or `rolled_back`."""
    version: str | None
    """What the action was done to; for `rolled_back` the version that is champion now."""
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
    """Safe to use from several threads and processes at once.

    Every method raises RegistryError for what it refuses, RegistryUnavailable when the back end is away.
    """

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
        """Records the version and makes it champion; the old champion becomes `previous`.

        Publishing the champion once more changes nothing. fence: the publisher's, if it leads (see `lead`). Raises Superseded
        if the lead was taken anew since; StaleGeneration if the slot moved since `expected_generation`; RegistryError if
        the version or its parent is quarantined, or it was made for another slot.
        """

    def lead(self, slot: Slot, name: str, ttl: float) -> int | None:
        """Takes the lead of a slot's training for `ttl` seconds, or keeps it; None: somebody else has it.

        The number is a fence: the same for as long as the lead is kept, and greater each time it is taken, be it by the same
        name after it lapsed. So whoever was paused past the end of its lead cannot publish any more once another leads.
        """

    def resign(self, slot: Slot, name: str) -> None:
        """Gives the lead up, if `name` has it."""

    def record(self, slot: Slot, manifest: Manifest, location: str) -> None:
        """Records a version without moving an alias. Recording the same version again changes nothing.

        The child of a quarantined version is quarantined. Raises RegistryError if made for another slot.
        """

    def reject(self, slot: Slot, manifest: Manifest, detail: str) -> None:
        """Notes, as an event, that the gate turned a candidate away."""

    def state(self, slot: Slot) -> SlotState:
        """As it stands; that of a slot nobody has used is empty."""

    def slots(self) -> list[Slot]:
        """Oldest first."""

    def manifest(self, slot: Slot, version: str) -> Manifest:
        """Raises UnknownVersion."""

    def location(self, slot: Slot, version: str) -> str:
        """Where the weights are, as the publisher named it. Raises UnknownVersion."""

    def versions(self, slot: Slot) -> list[Manifest]:
        """Oldest first."""

    def quarantined(self, slot: Slot) -> frozenset[str]:
        """Versions that will never be champion again."""

    def rollback(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        """Quarantines the champion and its descendants and goes back to a sound version.

        That is `previous`, or else its nearest ancestor that is not quarantined. `previous` becomes
        None. Raises RegistryError, changing nothing, when there is no such version, and StaleGeneration when
        the slot moved.
        """

    def events(self, after: int = 0, limit: int = 100) -> list[Event]:
        """Events with id > `after`, oldest first. At least the newest thousand are kept."""

    def announce(self, presence: Presence) -> None:
        """Says what a process is doing; replaces what it said before."""

    def presences(self, now: float) -> list[Presence]:
        """Those that have not lapsed at `now` (Unix seconds), by name."""

    def request_run(self, slot: Slot, reason: str, *, idempotency_key: str | None = None) -> Run:
        """Queues a retraining; the run of the slot that is open already is returned instead of a second one.

        The same `idempotency_key` gets the same run for ever, whatever became of it.
        """

    def claim_run(self, slot: Slot) -> Run | None:
        """The open run of the slot, if any: also one that a killed trainer left behind."""

    def update_run(self, run_id: str, state: RunState, *, detail: str = "", version: str | None = None) -> Run:
        """Notes progress. A `version` once noted stays unless another is given.

        Raises RegistryError for an unknown run, and for one that has ended in another state.
        """

    def run(self, run_id: str) -> Run:
        """Raises RegistryError for an unknown run."""

    def runs(self, limit: int = 20) -> list[Run]:
        """Newest first."""

    def close(self) -> None: ...


def open_registry(url: str) -> Registry:
    """The registry at `url`. Raises BadUrl for a scheme without a back end, or a URL that its back end does not understand."""
    if url.startswith(("redis:", "rediss:")):
        from pipelines.redis_registry import RedisAddress, RedisRegistry

        return RedisRegistry(RedisAddress.parse(url))
    from pipelines.sqlite_registry import SqliteRegistry
    from pipelines.traffic_log import sqlite_path

    return SqliteRegistry(sqlite_path(url, "registry"))
