"""create_app: the whole HTTP side, in front of any engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from pipelines.registry import Registry
from serving.api.admin import admin_routes
from serving.api.auth import AdminKey, AuthMiddleware, Keys
from serving.api.chat import chat_routes
from serving.api.completions import completion_routes
from serving.api.engine_metrics import EngineCollector
from serving.api.handlers import add_handlers
from serving.api.metrics import Metrics
from serving.api.model_list import model_routes
from serving.api.openapi import add_schemas
from serving.api.operations import operation_routes
from serving.api.outermost import REQUEST_ID, OutermostMiddleware
from serving.api.service import Admission, Service
from serving.api.settings import ApiSettings
from serving.dashboard.routes import Dashboard
from serving.link import EngineLink
from serving.text import TextTokenizer
from serving.traffic import TrafficRecorder
from speculator.constraint.proving import Prover

_log = logging.getLogger(__name__)


def create_app(
    engine: EngineLink,
    tokenizer: TextTokenizer,
    settings: ApiSettings,
    traffic: TrafficRecorder,
    registry: Registry | None = None,
) -> FastAPI:
    """The server's ASGI application. Engine, traffic log and registry are the caller's to start and to close."""
    metrics = Metrics(settings.model)
    metrics.registry.register(EngineCollector(settings.model, engine, traffic))
    admission = Admission(settings.max_in_flight, settings.retry_after)
    prover = Prover(tokenizer.rules, tokenizer.eos_ids, tokenizer.vocab_size)
    service = Service(engine, tokenizer, settings, traffic, metrics, admission, prover, registry)
    dashboard = Dashboard(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        async with dashboard.running():
            yield
            await _settle(service)
            prover.close()

    app = FastAPI(
        title="Everdraft",
        version=settings.version,
        redoc_url=None,
        lifespan=lifespan,
        middleware=_middleware(service),
    )
    add_handlers(app)
    add_schemas(app)
    for routes in (completion_routes, chat_routes, model_routes, operation_routes, admin_routes):
        app.include_router(routes(service))
    app.include_router(dashboard.routes())
    return app


def _middleware(service: Service) -> list[Middleware]:
    """From the outside in."""
    chain = [Middleware(OutermostMiddleware, metrics=service.metrics)]
    if service.settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.cors_origins),
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["*"],
            expose_headers=[REQUEST_ID],
        )
        chain.append(cors)
    chain.append(Middleware(AuthMiddleware, keys=Keys(service.settings.keys), admin=AdminKey(service.settings.admin_key)))
    return chain


async def _settle(service: Service) -> None:
    """After the last response: everything that finished becomes durable."""
    while service.admission.num_in_flight:  # those that the drain cut short are just being aborted
        await asyncio.sleep(0.01)
    seconds = service.settings.flush_seconds
    if not await asyncio.to_thread(service.traffic.flush, seconds):
        counters = service.traffic.counters()
        if counters.pending:
            _log.error("traffic log: %d traces not durable after %.0f s", counters.pending, seconds)
        else:
            _log.warning("traffic log: %d traces wait in the spool, for the next start", counters.spooled)
