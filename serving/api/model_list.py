"""GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import time
from typing import Literal

import msgspec
from fastapi import APIRouter, Response

from serving.api.openapi import error_responses
from serving.api.resolve import unknown_model
from serving.api.service import Service
from serving.lossy import Allowance


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "everdraft"
    root: str
    parent: None = None
    max_model_len: int
    lossy_acceptance: Allowance
    """See `serving.lossy`."""


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: tuple[ModelCard, ...]


def model_routes(service: Service) -> APIRouter:
    router = APIRouter()
    settings = service.settings
    card = ModelCard(
        id=settings.model,
        created=int(time.time()),
        root=settings.model,
        max_model_len=settings.max_model_len,
        lossy_acceptance=settings.lossy.lossy_acceptance,
    )

    @router.get("/v1/models", response_model=None, responses=error_responses(401))
    async def list_models() -> Response:
        """The models served: one."""
        return Response(msgspec.json.encode(ModelList(data=(card,))), media_type="application/json")

    # `:path`, because a model's name may hold slashes
    @router.get("/v1/models/{name:path}", response_model=None, responses=error_responses(401, 404))
    async def show_model(name: str) -> Response:
        """One model."""
        if name != settings.model:
            raise unknown_model(name, service)
        return Response(msgspec.json.encode(card), media_type="application/json")

    return router
