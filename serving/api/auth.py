"""API keys: `/v1` is guarded when there are any, the rest never is."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.errors import Unauthorized
from serving.api.handlers import error_response

DEFAULT_TENANT = "default"


class Keys:
    """Knows the tenant behind a key, and keeps hashes only."""

    def __init__(self, tenants: Mapping[str, str]) -> None:
        self._tenants = [(_digest(key.encode()), tenant) for key, tenant in tenants.items()]

    def tenant(self, authorization: str | None) -> str:
        """The tenant that an `Authorization` header stands for. Raises Unauthorized."""
        if not self._tenants:
            return DEFAULT_TENANT
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("No API key: expected the header Authorization: Bearer <key>.")
        # header values are latin-1, keys may be any text
        digest = _digest(key.strip().encode("latin-1"))
        # no early end: how long it takes must not tell which key was nearly right
        matches = [tenant for known, tenant in self._tenants if secrets.compare_digest(known, digest)]
        if not matches:
            raise Unauthorized("The API key is not known.")
        return matches[0]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class AuthMiddleware:
    """Leaves the tenant in the request's state, or answers 401."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _guarded(scope):
            try:
                tenant = self._keys.tenant(Headers(scope=scope).get("authorization"))
            except Unauthorized as error:
                await error_response(error)(scope, receive, send)
                return
            scope.setdefault("state", {})["tenant"] = tenant
        await self._app(scope, receive, send)


def _guarded(scope: Scope) -> bool:
    path: str = scope["path"]
    return (path == "/v1" or path.startswith("/v1/")) and scope["method"] != "OPTIONS"
