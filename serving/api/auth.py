"""Keys: `/v1` is guarded by API keys when there are any, `/admin` by the admin key always, the rest never."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.errors import ApiError, Forbidden, Unauthorized
from serving.api.handlers import error_response

DEFAULT_TENANT = "default"

_log = logging.getLogger(__name__)


class Keys:
    """Knows the tenant behind a key, and keeps hashes only."""

    def __init__(self, tenants: Mapping[str, str]) -> None:
        self._tenants = [(_digest(key.encode()), tenant) for key, tenant in tenants.items()]

    def tenant(self, authorization: str | None) -> str:
        """The tenant that an `Authorization` header stands for. Raises Unauthorized."""
        if not self._tenants:
            return DEFAULT_TENANT
        digest = _sent(authorization)
        # no early end: how long it takes must not tell which key was nearly right
        matches = [tenant for known, tenant in self._tenants if secrets.compare_digest(known, digest)]
        if not matches:
            raise Unauthorized("The API key is not known.")
        return matches[0]


class AdminKey:
    """The one key that opens the admin API, of which only the hash is kept."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key.encode()) if key else None

    def check(self, authorization: str | None) -> None:
        """Raises Unauthorized, or Forbidden where there is no key that would do."""
        if self._digest is None:
            raise Forbidden("The admin API is shut: the server was started without an admin key.")
        if not secrets.compare_digest(self._digest, _sent(authorization)):
            raise Unauthorized("The admin key is not right.")


def _sent(authorization: str | None) -> bytes:
    """Digest of the key in an `Authorization` header. Raises Unauthorized where there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("No key: expected the header Authorization: Bearer <key>.")
    # header values are latin-1, keys may be any text
    return _digest(key.strip().encode("latin-1"))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class AuthMiddleware:
    """Leaves the tenant in the request's state, or answers 401; before the admin API 403 where that is shut."""

    def __init__(self, app: ASGIApp, keys: Keys, admin: AdminKey) -> None:
        self._app = app
        self._keys = keys
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "OPTIONS":
            try:
                self._check(scope)
            except ApiError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        authorization = Headers(scope=scope).get("authorization")
        if _under("/v1", scope):
            scope.setdefault("state", {})["tenant"] = self._keys.tenant(authorization)
        elif _under("/admin", scope):
            try:
                self._admin.check(authorization)
            except Unauthorized:
                _log.warning("admin API: a wrong key, or none, from %s", (scope.get("client") or ("?",))[0])
                raise


def _under(root: str, scope: Scope) -> bool:
    path: str = scope["path"]
    return path == root or path.startswith(f"{root}/")
