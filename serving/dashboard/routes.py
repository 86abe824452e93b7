"""The page's routes: itself, its files, and the feed. None of them needs a key."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from serving.api.errors import InvalidRequest, NotFound, shown
from serving.api.service import Service
from serving.dashboard import assets
from serving.dashboard.feed import Feeder
from serving.dashboard.history import History
from serving.dashboard.sampler import Sampler

_WORTH_PACKING = 2048
"""Bytes; less fits into two packets anyway."""
_LARGE = 1 << 16
"""Bytes from which packing takes more than a millisecond, and is done beside the event loop that tokens go through."""


class Dashboard:
    """What belongs to one server's page. history: where its samples are kept."""

    def __init__(self, service: Service, history: History | None = None) -> None:
        self.history = history or History()
        self._sampler = Sampler(service, self.history)
        self._feeder = Feeder(service, self.history)

    def sample(self) -> None:
        """Takes one sample now."""
        self._sampler.sample()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Samples are taken while the block runs."""
        async with self._sampler.running():
            yield

    def routes(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)

        async def page(request: Request) -> Response:
            return (await asyncio.to_thread(assets.page)).response(request.headers)

        async def slash() -> Response:
            return RedirectResponse("../dashboard")  # relative: a proxy may have put a prefix before it

        async def static(request: Request, name: str) -> Response:
            asset = await asyncio.to_thread(assets.named, name)
            if asset is None:
                raise NotFound(f"There is no {request.method} {request.url.path} here.")
            return asset.response(request.headers, request.query_params.get("v", ""))

        async def feed(request: Request) -> Response:
            found = await self._feeder.feed(_after(request.query_params.get("after", "0")))
            return await _json(found, request)

        for path, endpoint in (
            ("/dashboard", page),
            ("/dashboard/", slash),
            ("/dashboard/feed", feed),
            ("/dashboard/static/{name}", static),
        ):
            router.add_api_route(path, endpoint, methods=["GET"], response_model=None)
        return router


def _after(text: str) -> float:
    """Raises InvalidRequest."""
    try:
        after = float(text)
    except ValueError:
        after = float("nan")
    if not 0 <= after < float("inf"):
        raise InvalidRequest(f"after is {shown(text)}, expected Unix seconds", "after")
    return after


async def _json(payload: msgspec.Struct, request: Request) -> Response:
    data = msgspec.json.encode(payload)
    headers = {"cache-control": "no-store", "vary": "accept-encoding"}
    if len(data) >= _WORTH_PACKING and assets.takes_gzip(request.headers):
        headers["content-encoding"] = "gzip"
        data = await asyncio.to_thread(gzip.compress, data, 1) if len(data) >= _LARGE else gzip.compress(data, 1)
    return Response(data, headers=headers, media_type="application/json")
