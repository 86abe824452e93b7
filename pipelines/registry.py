"""The registry: which speculator versions exist, which is in service, who runs what, and what was asked for.

It holds pointers and small records; weights live in a `CheckpointStore`. `open_registry(url)` chooses the
back end by URL (`sqlite:///path/registry.db`, `redis://host:port/0`). Every back end passes
`tests/pipelines/contract_registry.py`.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import msgspec

from pipelines.checkpoint import Manifest

Kind = Literal["medusa", "hydra", "eagle", "draft-lm"]
"""Of speculators whose weights are published: heads of two kinds, EAGLE layers, draft language models."""
TRIED_OUT: frozenset[str] = frozenset({"medusa", "hydra", "eagle"})
"""Kinds of which servers can let a second version serve a share."""
Alias = Literal["champion", "candidate", "previous"]
Stage = Literal["candidate", "canary", "champion", "rolled_back"]
RunState = Literal[
    "queued", "collecting", "training", "judging",
    "candidate", "canary", "champion", "rejected", "rolled_back", "failed", "cancelled",
]  # fmt: skip
OPEN_STATES: frozenset[RunState] = frozenset({"queued", "collecting", "training", "judging"})
"""Those of a run that the trainer still works on; the others are what became of it."""
ShareOf = Literal["requests", "replicas"]
Switch = Literal["training", "speculation"]
Promotion = Literal["auto", "canary", "manual", "never"]


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
    """A version that passed the gate and may become champion."""
    previous: str | None = None
    share: float = 0.0
    """Of what is served, by the candidate: it is a canary. 0: it waits for somebody's word."""
    share_of: ShareOf = "requests"
    """Which are chosen by hash: conversations, or whole replicas."""
    training: bool = True
    """False: the trainer rests until it is told to go on."""
    speculation: bool = True
    """False: every replica decodes plainly."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a slot, in order."""

    id: int
    at: float
    slot: Slot
    generation: int
    action: str
    """`published`, `staged` (a candidate), `canary`, `promoted`, `rejected`, `quarantined` (one for each version), `withdrawn` (a
    candidate), `rolled_back`; or a switch that was thrown: `training_off`, `training_on`, `speculation_off`, `speculation_on`."""
    version: str | None
    """What the action was done to; for `rolled_back` the version that is champion now; None for switches."""
    detail: str = ""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is to be done."""

    mode: Literal["incremental", "full"] = "incremental"
    """`incremental`: the weights in training go on; `full`: it starts from the static weights."""
    since: float = 0.0
    """Only traces that finished at or after this are studied; Unix seconds."""
    from_position: dict[int, int] = {}
    """Only traces after these offsets are studied, partition by partition: a `pipelines.traffic_log.Position`."""
    max_steps: int = 0
    """Steps before it is judged; 0: as many as the trainer is set to."""
    promote: Promotion | None = None
    """What happens to a version that passes the gate; None: what the trainer is set to."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.since) and self.since >= 0):
            raise ValueError(f"since is {self.since}, expected Unix seconds")
        if self.max_steps < 0:
            raise ValueError(f"max_steps is {self.max_steps}, expected 0 or more")
        if any(partition < 0 or offset < 0 for partition, offset in self.from_position.items()):
            raise ValueError(f"from_position is {self.from_position}, expected partitions and offsets of 0 or more")


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
    plan: RunPlan = RunPlan()


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody did by hand, or tried to: a line of the audit log."""

    at: float
    actor: str
    """`admin` through the API, `<user>@<host>` at a command line, `rollout` for what a server decided by itself."""
    action: str
    """The verb: `retrain`, `promote`, …"""
    slot: Slot
    what: str = ""
    """What it was done to, and how: a version, a run, a share."""
    reason: str = ""
    outcome: str = "done"
    """Or why it was refused."""



class Ratio(msgspec.Struct, frozen=True):
    """A ratio of two sums over requests."""

    value: float
    log_variance: float
    """Of the logarithm of `value`."""


class Served(msgspec.Struct, kw_only=True):
    """What one version did for the requests that it served to their end: sums over these, and of squares."""

    num_requests: int = 0
    tokens: float = 0.0
    steps: float = 0.0
    seconds: float = 0.0
    """Of the steps that they took part in."""
    tokens_squared: float = 0.0
    steps_squared: float = 0.0
    seconds_squared: float = 0.0
    tokens_steps: float = 0.0
    tokens_seconds: float = 0.0

    def add(self, tokens: float, steps: float, seconds: float) -> None:
        """One request more."""
        self.num_requests += 1
        self.tokens += tokens
        self.steps += steps
        self.seconds += seconds
        self.tokens_squared += tokens * tokens
        self.steps_squared += steps * steps
        self.seconds_squared += seconds * seconds
        self.tokens_steps += tokens * steps
        self.tokens_seconds += tokens * seconds

    def __add__(self, other: Served) -> Served:
        return Served(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    @property
    def length(self) -> Ratio:
        """Tokens per step."""
        return _ratio(self.tokens, self.steps, self.tokens_squared, self.steps_squared, self.tokens_steps)

    @property
    def speed(self) -> Ratio:
        """Tokens per second."""
        return _ratio(self.tokens, self.seconds, self.tokens_squared, self.seconds_squared, self.tokens_seconds)


def _ratio(above: float, below: float, above_squared: float, below_squared: float, product: float) -> Ratio:
    """By the delta method: the spread of above - value * below over the requests, relative to `above`."""
    value = above / below
    return Ratio(value, max(0.0, above_squared - 2 * value * product + value * value * below_squared) / (above * above))


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions in service at once on a replica, chosen by hash, and what each did."""

    generation: int
    champion: Served
    rival: Served
    """The candidate that is tried, or the champion before that is held back to compare with."""


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
    trial: Trial | None = None


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
        """Records the version and makes it champion; the old champion becomes `previous`, and there is no candidate any more.

        Publishing the champion once more changes nothing. fence: the publisher's, if it leads (see `lead`). Raises Superseded
        if the lead was taken anew since; StaleGeneration if the slot moved since `expected_generation`; RegistryError if
        the version or its parent is quarantined, or it was made for another slot.
        """

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
        """Makes a recorded version the candidate, in place of any other; with a `share` (0 to 1) it serves that part at once.

        Raises what `publish` raises, UnknownVersion, and RegistryError for the champion.
        """

    def promote(
        self, slot: Slot, version: str, *, expected_generation: int | None = None, detail: str = "", fence: int | None = None
    ) -> SlotState:
        """As `publish`, for a version that is recorded already. Raises UnknownVersion too."""

    def withdraw(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        """Quarantines the candidate and its descendants. Raises RegistryError where there is none, StaleGeneration."""

    def switch(self, slot: Slot, switch: Switch, on: bool, *, detail: str = "") -> SlotState:
        """Lets training or speculation go on, or stops it. Not a move: the generation stays."""

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

    def stages(self, slot: Slot) -> dict[str, Stage]:
        """How far each version got that passed the gate: the furthest that it reached."""

    def rollback(self, slot: Slot, *, expected_generation: int | None = None, detail: str = "") -> SlotState:
        """Quarantines the champion and its descendants, a candidate among them too, and goes back to a sound version.

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

    def request_run(self, slot: Slot, reason: str, *, plan: RunPlan = RunPlan(), idempotency_key: str | None = None) -> Run:
        """Queues a retraining. The same `idempotency_key` gets the same run for ever, whatever became of it.

        Raises RunOpen, naming it, where another run of the slot is open.
        """

    def claim_run(self, slot: Slot) -> Run | None:
        """The open run of the slot, if any: also one that a killed trainer left behind."""

    def update_run(self, run_id: str, state: RunState, *, detail: str = "", version: str | None = None) -> Run:
        """Notes progress. A `version` once noted stays unless another is given.

        Raises UnknownRun, and RegistryError for one that has ended in another state.
        """

    def run(self, run_id: str) -> Run:
        """Its state follows the version that came of it: from `candidate` to `champion` or `rolled_back`. Raises UnknownRun."""

    def runs(self, limit: int = 20) -> list[Run]:
        """Newest first."""

    def note_act(self, act: Act) -> None:
        """Adds a line to the audit log, which keeps the newest ten thousand."""

    def acts(self, limit: int = 100) -> list[Act]:
        """Newest first."""

    def wait(self, after: int, seconds: float) -> bool:
        """Waits until there is an event with id > `after`, for at most so long; whether there is one.

        A back end that cannot be woken looks, waits the whole time, and looks again. Raises RegistryUnavailable.
        """

    def close(self) -> None: ...


def newest_events(registry: Registry, limit: int) -> list[Event]:
    """The newest events, oldest of them first. Raises RegistryUnavailable."""
    newest: list[Event] = []
    while page := registry.events(after=newest[-1].id if newest else 0, limit=1000):
        newest = [*newest, *page][-limit:]
    return newest


def open_registry(url: str) -> Registry:
    """The registry at `url`. Raises BadUrl for a scheme without a back end, or a URL that its back end does not understand."""
    if url.startswith(("redis:", "rediss:")):
        from pipelines.redis_registry import RedisAddress, RedisRegistry

        return RedisRegistry(RedisAddress.parse(url))
    from pipelines.sqlite_registry import SqliteRegistry
    from pipelines.traffic_log import sqlite_path

    return SqliteRegistry(sqlite_path(url, "registry"))
