"""SlotView: a slot of the registry as the page shows it. Made of records alone, no call in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from pipelines.checkpoint import Manifest
from pipelines.registry import Event, Presence, Run, Served, ShareOf, SlotState, Stage

SHOWN_VERSIONS = 30
_GATE = ("published", "staged", "rejected")
"""Events whose detail is what the gate said."""
_LONGEST = 300
"""Characters of a reason or detail: somebody wrote it."""


class EvaluationView(msgspec.Struct, frozen=True, kw_only=True):
    tokens_per_step: float
    champion_tokens_per_step: float
    gain: float
    gain_lower: float
    num_conversations: int
    by_domain: dict[str, float]
    """Relative change. What concerns single tenants is not for everybody's eyes."""


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    parent: str | None
    stage: str
    """`champion`, `canary`, `candidate`, `previous`, `rolled_back`, `quarantined`, `rejected`, `was_champion`,
    `was_candidate` or `recorded`."""
    created_at: float
    num_traces: int
    num_tokens: int
    newest_at: float
    evaluation: EvaluationView | None
    gate: str
    """What it said; empty: the version never came before it."""
    note: str


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    state: str
    mode: str
    reason: str
    detail: str
    version: str | None
    created_at: float
    updated_at: float


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    at: float
    generation: int
    action: str
    version: str | None
    detail: str


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """A server or a trainer."""

    name: str
    at: float
    version: str | None
    generation: int
    state: str
    figures: dict[str, float]


class SideView(msgspec.Struct, frozen=True, kw_only=True):
    """What one of two versions in service did for its requests, on all servers together."""

    version: str | None
    num_requests: int
    tokens_per_step: float | None
    tokens_per_second: float | None


class TrialView(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions in service at once: a `canary`, or a new champion on `watch` against the one before."""

    kind: Literal["canary", "watch"]
    champion: SideView
    rival: SideView


class SlotView(msgspec.Struct, frozen=True, kw_only=True):
    generation: int
    champion: str | None
    candidate: str | None
    previous: str | None
    share: float
    share_of: ShareOf
    training: bool
    speculation: bool
    trainers: list[ProcessView]
    servers: list[ProcessView]
    trial: TrialView | None
    runs: list[RunView]
    """Newest first."""


def slot_view(state: SlotState, presences: Sequence[Presence], runs: Iterable[Run]) -> SlotView:
    """runs: newest first."""
    processes = [_process(each) for each in presences]
    return SlotView(
        generation=state.generation,
        champion=state.champion,
        candidate=state.candidate,
        previous=state.previous,
        share=state.share,
        share_of=state.share_of,
        training=state.training,
        speculation=state.speculation,
        trainers=[each for each in processes if each.name.startswith("trainer:")],
        servers=[each for each in processes if each.name.startswith("serving:")],
        trial=_trial(state, presences),
        runs=[_run(each) for each in runs],
    )


def versions_view(
    state: SlotState,
    manifests: Sequence[Manifest],
    stages: Mapping[str, Stage],
    quarantined: frozenset[str],
    events: Iterable[Event],
) -> list[VersionView]:
    """The newest versions and those in service, newest first. manifests and events: oldest first."""
    gate = {event.version: event for event in events if event.action in _GATE}
    serving = {state.champion, state.candidate, state.previous}
    latest = len(manifests) - SHOWN_VERSIONS
    shown = [each for place, each in enumerate(manifests) if place >= latest or each.version in serving]
    return [
        _version(each, stage_of(each.version, state, stages, quarantined, gate.get(each.version)), gate.get(each.version))
        for each in reversed(shown)
    ]


def stage_of(
    version: str, state: SlotState, stages: Mapping[str, Stage], quarantined: frozenset[str], judged: Event | None
) -> str:
    """Where a version stands now, which is less than the furthest that it reached."""
    reached = stages.get(version)
    if version == state.champion:
        return "champion"
    if version == state.candidate:
        return "canary" if state.share else "candidate"
    if version in quarantined:
        return "rolled_back" if reached else "quarantined"
    if version == state.previous:
        return "previous"
    if reached is not None:
        return "was_champion" if reached == "champion" else "was_candidate"
    return "rejected" if judged is not None and judged.action == "rejected" else "recorded"


def _version(manifest: Manifest, stage: str, judged: Event | None) -> VersionView:
    return VersionView(
        version=manifest.version,
        parent=manifest.parent,
        stage=stage,
        created_at=manifest.created_at,
        num_traces=manifest.span.num_traces,
        num_tokens=manifest.span.num_tokens,
        newest_at=manifest.span.newest_at,
        evaluation=_evaluation(manifest),
        gate=_cut(judged.detail) if judged is not None else "",
        note=_cut(manifest.note),
    )


def _evaluation(manifest: Manifest) -> EvaluationView | None:
    found = manifest.evaluation
    if found is None:
        return None
    return EvaluationView(
        tokens_per_step=round(found.tokens_per_step, 4),
        champion_tokens_per_step=round(found.champion_tokens_per_step, 4),
        gain=round(found.gain, 4),
        gain_lower=round(found.gain_lower, 4),
        num_conversations=found.num_conversations,
        by_domain={
            name.removeprefix("domain:"): round(change, 4)
            for name, change in sorted(found.by_group.items())
            if name.startswith("domain:")
        },
    )


def _process(presence: Presence) -> ProcessView:
    return ProcessView(
        name=presence.name,
        at=round(presence.at, 3),
        version=presence.version,
        generation=presence.generation,
        state=_cut(presence.state),
        figures={name: round(value, 4) for name, value in presence.figures.items()},
    )


def _trial(state: SlotState, presences: Sequence[Presence]) -> TrialView | None:
    trials = [each.trial for each in presences if each.trial is not None and each.trial.generation == state.generation]
    if not trials:
        return None
    is_canary = state.candidate is not None and state.share > 0
    return TrialView(
        kind="canary" if is_canary else "watch",
        champion=_side(state.champion, [trial.champion for trial in trials]),
        rival=_side(state.candidate if is_canary else state.previous, [trial.rival for trial in trials]),
    )


def _side(version: str | None, parts: Sequence[Served]) -> SideView:
    served = sum(parts, Served())
    known = served.steps > 0 and served.seconds > 0
    return SideView(
        version=version,
        num_requests=served.num_requests,
        tokens_per_step=round(served.length.value, 4) if known else None,
        tokens_per_second=round(served.speed.value, 2) if known else None,
    )


def _run(run: Run) -> RunView:
    return RunView(
        run_id=run.run_id,
        state=run.state,
        mode=run.plan.mode,
        reason=_cut(run.reason),
        detail=_cut(run.detail),
        version=run.version,
        created_at=round(run.created_at, 3),
        updated_at=round(run.updated_at, 3),
    )


def event_view(event: Event) -> EventView:
    return EventView(
        id=event.id,
        at=round(event.at, 3),
        generation=event.generation,
        action=event.action,
        version=event.version,
        detail=_cut(event.detail),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
