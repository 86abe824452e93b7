"""RedisAddress: a `redis://` or `rediss://` URL, and what the client is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.errors import BadUrl
from pipelines.url_parameters import parameters, password, tls_files

_FILES = {"ca_file": "ssl_ca_certs", "cert_file": "ssl_certfile", "key_file": "ssl_keyfile"}
_PARAMETERS = ("password_file", "prefix", *_FILES, "timeout")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Server, database and how to sign in."""

    host: str
    port: int
    database: int = 0
    prefix: str = "everdraft"
    """Of all keys: several registries may share a database."""
    timeout: float = 2.0
    """Seconds for one question."""
    client: dict[str, Any] = field(default_factory=dict, repr=False)
    """Settings of redis-py for TLS and signing in."""

    @classmethod
    def parse(cls, url: str, setting: str = "registry") -> RedisAddress:
        """`redis://user@host:port/0?password_file=…&prefix=…`, or `rediss://` for TLS.

        Raises BadUrl, naming the setting and the parameter, for anything else. What the URL says is never repeated in an error,
        for it may hold a password.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or 6379
        except ValueError:
            raise BadUrl(f"{setting}: the port is no number from 1 to 65535") from None
        database = parts.path[1:] or "0"
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.fragment or not database.isdecimal():
            raise BadUrl(f"{setting}: expected redis://user@host:port/0?password_file=…, or rediss:// for TLS")
        given = parameters(parts.query, _PARAMETERS, setting)
        prefix = given.get("prefix", "everdraft")
        if not prefix or set("{}") & set(prefix):
            raise BadUrl(f"{setting}: prefix is {prefix!r}, expected a name without braces")
        secure = parts.scheme == "rediss"
        client: dict[str, Any] = {
            "username": unquote(parts.username) if parts.username else None,
            "password": password(given, unquote(parts.password) if parts.password else None, setting),
            **tls_files(given, _FILES, setting, no_tls="" if secure else "expected a rediss:// URL"),
        }
        if secure:
            client["ssl"] = True
        return cls(parts.hostname, port, int(database), prefix, _seconds(given.get("timeout", "2"), setting), client)

    def __str__(self) -> str:
        return f"redis://{self.host}:{self.port}/{self.database}"


def _seconds(text: str, setting: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 60.0:
        raise BadUrl(f"{setting}: timeout is {text!r}, expected seconds, more than 0 and at most 60")
    return seconds
