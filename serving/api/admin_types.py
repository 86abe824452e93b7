"""What the admin API takes and gives, beside the registry's own types."""

from __future__ import annotations

from typing import Literal

import msgspec

from pipelines.checkpoint import Evaluation, TrafficSpan
from pipelines.registry import Act, Event, Presence, Promotion, Run, ShareOf, Slot, SlotState, Stage

_BY_HAND = "asked for by hand"


class RunBody(msgspec.Struct, kw_only=True):
    """A retraining to ask for; the fields but the first and last are those of `pipelines.registry.RunPlan`."""

    reason: str = _BY_HAND
    mode: Literal["incremental", "full"] = "incremental"
    since: float = 0.0
    from_offsets: dict[str, int] = {}
    """By partition: only what comes after these is studied."""
    max_steps: int = 0
    promote: Promotion | None = None
    idempotency_key: str | None = None
    """Asked again with the same key, the answer is the same run."""


class ReasonBody(msgspec.Struct, kw_only=True):
    reason: str = _BY_HAND


class MoveBody(msgspec.Struct, kw_only=True):
    reason: str = _BY_HAND
    expected_generation: int | None = None
    """Do nothing if the slot has moved on from it."""


class CanaryBody(MoveBody, kw_only=True):
    share: float = 0.1
    """More than 0, less than 1."""
    share_of: ShareOf = "requests"


class SpeculationBody(ReasonBody, kw_only=True):
    on: bool


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version: its manifest, and where it stands."""

    version: str
    kind: str
    scope: str
    parent: str | None
    created_at: float
    num_parameters: int
    config: dict[str, int | float | str | bool]
    span: TrafficSpan
    evaluation: Evaluation | None
    note: str
    alias: Literal["champion", "candidate", "previous"] | None
    stage: Stage | None
    """The furthest that it got; null: it never passed the gate, or never came before it."""
    quarantined: bool


class VersionList(msgspec.Struct, frozen=True):
    versions: list[VersionView]
    """Newest first."""


class RunList(msgspec.Struct, frozen=True):
    runs: list[Run]
    """Newest first."""


class ReplicaList(msgspec.Struct, frozen=True):
    replicas: list[Presence]


class ActList(msgspec.Struct, frozen=True):
    acts: list[Act]
    """Newest first."""


class AdminStatus(msgspec.Struct, frozen=True, kw_only=True):
    slot: Slot
    state: SlotState
    presences: list[Presence]
    open_runs: list[Run]
    events: list[Event]
    """The newest, oldest of them first."""


ADMIN_TYPES = (
    RunBody, ReasonBody, MoveBody, CanaryBody, SpeculationBody,
    VersionView, VersionList, RunList, ReplicaList, ActList, AdminStatus, Run, SlotState,
)  # fmt: skip
