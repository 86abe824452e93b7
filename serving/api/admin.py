"""/admin/v1: the slot that is served here, its versions, runs and switches, for whoever holds the admin key.

Where several kinds of speculator are served and trained, `?kind=` says whose slot is meant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar, get_args

import msgspec
from fastapi import APIRouter, Request, Response

from pipelines.checkpoint import Manifest
from pipelines.errors import RegistryError, RegistryUnavailable, RunOpen, UnknownRun, UnknownVersion
from pipelines.operations import Operations
from pipelines.registry import (
    OPEN_STATES,
    Kind,
    Presence,
    Registry,
    Run,
    RunPlan,
    Slot,
    SlotState,
    Stage,
    Switch,
    newest_events,
)
from serving.api.admin_types import (
    ActList,
    AdminStatus,
    CanaryBody,
    MoveBody,
    ReasonBody,
    ReplicaList,
    RunBody,
    RunList,
    SpeculationBody,
    VersionList,
    VersionView,
)
from serving.api.body import convert, read_object
from serving.api.errors import Conflict, InvalidRequest, NotFound, Unavailable, shown
from serving.api.openapi import administered
from serving.api.service import Service

T = TypeVar("T")
B = TypeVar("B")

_MOST = 1000
"""Runs or lines of the audit log in one answer."""
_NUM_EVENTS = 20


def admin_routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/admin/v1")
    desk = _Desk(service)

    @router.get("/status", **administered(AdminStatus))
    async def status(request: Request) -> Response:
        """The slot, who runs, what is open, what happened lately."""
        return _json(await desk.ask(request, _status))

    @router.post("/training/runs", **administered(Run, RunBody, 202))
    async def ask_for_run(request: Request) -> Response:
        """Asks the trainer for a run; 409 with its id while another is open."""
        body = await _body(request, service, RunBody)
        plan = _plan(body)
        return _json(
            await desk.act(
                request, lambda do, slot: do.retrain(slot, body.reason, plan=plan, idempotency_key=body.idempotency_key)
            ),
            202,
        )

    @router.get("/training/runs", **administered(RunList))
    async def list_runs(request: Request) -> Response:
        """The runs, newest first; `limit`: how many."""
        limit = _limit(request, 20)
        return _json(RunList(await desk.ask(request, lambda registry, slot: registry.runs(limit))))

    @router.get("/training/runs/{run_id}", **administered(Run))
    async def show_run(run_id: str, request: Request) -> Response:
        """One run; what became of its version shows in its state."""
        return _json(await desk.ask(request, lambda registry, slot: registry.run(run_id)))

    @router.post("/training/runs/{run_id}/cancel", **administered(Run, ReasonBody))
    async def cancel_run(run_id: str, request: Request) -> Response:
        """Ends an open run."""
        body = await _body(request, service, ReasonBody)
        return _json(await desk.act(request, lambda do, slot: do.cancel(run_id, body.reason)))

    @router.post("/training/pause", **administered(SlotState, ReasonBody))
    async def pause(request: Request) -> Response:
        """The trainer rests."""
        return await _switched(request, "training", False)

    @router.post("/training/resume", **administered(SlotState, ReasonBody))
    async def resume(request: Request) -> Response:
        """The trainer goes on."""
        return await _switched(request, "training", True)

    @router.post("/speculation", **administered(SlotState, SpeculationBody))
    async def speculation(request: Request) -> Response:
        """Off: every replica decodes plainly, until it is on again."""
        body = await _body(request, service, SpeculationBody)
        return _json(await desk.act(request, lambda do, slot: do.switch(slot, "speculation", body.on, body.reason)))

    @router.get("/speculators", **administered(VersionList))
    async def list_versions(request: Request) -> Response:
        """Every version with its evaluation, newest first."""
        return _json(VersionList(await desk.ask(request, _versions)))

    @router.get("/speculators/{version}", **administered(VersionView))
    async def show_version(version: str, request: Request) -> Response:
        """One version."""
        return _json(await desk.ask(request, lambda registry, slot: _version(registry, slot, version)))

    @router.post("/speculators/{version}/promote", **administered(SlotState, MoveBody))
    async def promote(version: str, request: Request) -> Response:
        """Makes it champion."""
        body = await _body(request, service, MoveBody)
        expected = body.expected_generation
        return _json(
            await desk.act(request, lambda do, slot: do.promote(slot, version, body.reason, expected_generation=expected))
        )

    @router.post("/speculators/{version}/canary", **administered(SlotState, CanaryBody))
    async def canary(version: str, request: Request) -> Response:
        """Lets it serve a share of the requests, or on a share of the replicas."""
        body = await _body(request, service, CanaryBody)
        if not 0 < body.share < 1:
            raise InvalidRequest(f"share: expected more than 0 and less than 1, got {body.share:g}", "share")
        how = (body.share, body.share_of, body.reason)
        expected = body.expected_generation
        return _json(
            await desk.act(request, lambda do, slot: do.canary(slot, version, *how, expected_generation=expected))
        )

    @router.post("/speculators/{version}/rollback", **administered(SlotState, MoveBody))
    async def rollback(version: str, request: Request) -> Response:
        """Takes the champion, or the candidate, out of service for good."""
        body = await _body(request, service, MoveBody)
        expected = body.expected_generation
        return _json(
            await desk.act(
                request, lambda do, slot: do.rollback(slot, body.reason, version=version, expected_generation=expected)
            )
        )

    @router.get("/replicas", **administered(ReplicaList))
    async def replicas(request: Request) -> Response:
        """The servers that reported lately: version, generation, what they see."""
        return _json(ReplicaList([each for each in await desk.ask(request, _presences) if each.name.startswith("serving:")]))

    @router.get("/audit", **administered(ActList))
    async def audit(request: Request) -> Response:
        """What was done by hand, and by whom; `limit`: how many lines."""
        limit = _limit(request, 100)
        return _json(ActList(await desk.ask(request, lambda registry, slot: registry.acts(limit))))

    async def _switched(request: Request, switch: Switch, on: bool) -> Response:
        body = await _body(request, service, ReasonBody)
        return _json(await desk.act(request, lambda do, slot: do.switch(slot, switch, on, body.reason)))

    return router


class _Desk:
    """Where the registry is asked: in a thread, and with its errors in the API's words."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ask(self, request: Request, question: Callable[[Registry, Slot], T]) -> T:
        registry, slot = self._registry(), _meant(request, self._service.slot)
        try:
            return await asyncio.to_thread(question, registry, slot)
        except RegistryUnavailable as error:
            raise Unavailable(f"The registry does not answer: {error}", self._service.settings.retry_after) from error
        except (UnknownVersion, UnknownRun) as error:
            raise NotFound(str(error)) from error
        except RunOpen as error:
            raise Conflict(str(error), error.run_id) from error
        except RegistryError as error:
            raise Conflict(str(error)) from error

    async def act(self, request: Request, deed: Callable[[Operations, Slot], T]) -> T:
        host = request.client.host if request.client is not None else "?"
        return await self.ask(request, lambda registry, slot: deed(Operations(registry, f"admin@{host}"), slot))

    def _registry(self) -> Registry:
        if self._service.registry is None:
            raise NotFound("There is no registry: the server was started without one.")
        return self._service.registry


def _meant(request: Request, served: Slot) -> Slot:
    """The slot that is served, or its sibling of another kind. Raises InvalidRequest for a kind that there is not."""
    kind = request.query_params.get("kind", served.kind)
    if kind != served.kind and kind not in get_args(Kind):
        raise InvalidRequest(f"kind: expected one of {', '.join(get_args(Kind))}, got {shown(kind)}", "kind")
    return msgspec.structs.replace(served, kind=kind)


def _status(registry: Registry, slot: Slot) -> AdminStatus:
    return AdminStatus(
        slot=slot,
        state=registry.state(slot),
        presences=_presences(registry, slot),
        open_runs=[run for run in registry.runs() if run.state in OPEN_STATES],
        events=newest_events(registry, _NUM_EVENTS),
    )


def _presences(registry: Registry, slot: Slot) -> list[Presence]:
    return registry.presences(time.time())


def _versions(registry: Registry, slot: Slot) -> list[VersionView]:
    state, stages, quarantined = registry.state(slot), registry.stages(slot), registry.quarantined(slot)
    return [_view(each, state, stages, quarantined) for each in reversed(registry.versions(slot))]


def _version(registry: Registry, slot: Slot, version: str) -> VersionView:
    manifest = registry.manifest(slot, version)
    return _view(manifest, registry.state(slot), registry.stages(slot), registry.quarantined(slot))


def _view(manifest: Manifest, state: SlotState, stages: dict[str, Stage], quarantined: frozenset[str]) -> VersionView:
    version = manifest.version
    aliases = {state.previous: "previous", state.candidate: "candidate", state.champion: "champion"}
    same = {name: getattr(manifest, name) for name in VersionView.__struct_fields__ if hasattr(manifest, name)}
    return msgspec.convert(
        {**same, "alias": aliases.get(version), "stage": stages.get(version), "quarantined": version in quarantined}, VersionView
    )


def _plan(body: RunBody) -> RunPlan:
    """Raises InvalidRequest."""
    try:
        position = {int(partition): offset for partition, offset in body.from_offsets.items()}
    except ValueError:
        raise InvalidRequest("from_offsets: expected offsets by the number of a partition", "from_offsets") from None
    try:
        return RunPlan(
            mode=body.mode, since=body.since, from_position=position, max_steps=body.max_steps, promote=body.promote
        )
    except ValueError as error:
        name, _, rest = str(error).replace("from_position", "from_offsets").partition(" ")
        raise InvalidRequest(f"{name}: {rest}", name) from None


def _limit(request: Request, default: int) -> int:
    text = request.query_params.get("limit", str(default))
    if not (text.isdecimal() and 1 <= int(text) <= _MOST):
        raise InvalidRequest(f"limit: expected 1 to {_MOST}, got {shown(text)}", "limit")
    return int(text)


async def _body(request: Request, service: Service, kind: type[B]) -> B:
    """What was sent; nothing stands for an empty object."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return convert({}, kind)
    raw = await read_object(request, service.settings.max_body_bytes)
    unknown = sorted(set(raw) - set(kind.__struct_fields__))  # type: ignore[attr-defined]
    if unknown:
        expected = ", ".join(kind.__struct_fields__)  # type: ignore[attr-defined]
        raise InvalidRequest(f"{unknown[0]}: no such field, expected {expected}", unknown[0])
    return convert(raw, kind)


def _json(payload: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(payload), status, media_type="application/json")
