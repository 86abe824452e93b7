"""What operators and load balancers ask: is it alive, is it ready, what does it run, how does it do."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from serving.api.errors import Unavailable
from serving.api.openapi import error_responses
from serving.api.service import Service
from serving.lossy import Allowance


class Status(msgspec.Struct, frozen=True):
    status: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    model: str
    versions: dict[str, str]
    """The version in service of each source."""
    generation: int
    speculation: bool
    lossy_acceptance: Allowance
    """Who gets answers that are not the target's own: nobody (`off`), who asks for them, or all who do not ask for exact ones."""


class Version(msgspec.Struct, frozen=True):
    version: str


def operation_routes(service: Service) -> APIRouter:
    router = APIRouter()

    async def health() -> Response:
        """200 while the engine runs."""
        _check_alive(service)
        return _json(Status("ok"))

    async def ready() -> Response:
        """200 once requests can be served."""
        _check_alive(service)
        snapshot = service.engine.snapshot()
        if snapshot is None:
            raise Unavailable("The engine is starting.", service.settings.retry_after)
        return _json(
            Readiness(
                status="ready",
                model=service.settings.model,
                versions=snapshot.versions,
                generation=snapshot.generation,
                speculation=snapshot.speculation,
                lossy_acceptance=service.settings.lossy.lossy_acceptance,
            )
        )

    async def version() -> Response:
        """The server's version."""
        return _json(Version(service.settings.version))

    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    for path, endpoint in {
        "/health": health,
        "/ready": ready,
        "/version": version,
        "/metrics": metrics,
    }.items():
        router.add_api_route(path, endpoint, response_model=None, responses=error_responses(503))
        # some load testers look before they ask
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, response_model=None)
    return router


def _check_alive(service: Service) -> None:
    if not service.engine.alive():
        raise Unavailable("The engine is not running.", service.settings.retry_after)


def _json(payload: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(payload), media_type="application/json")
