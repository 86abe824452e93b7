"""RedisAddress: a `redis://` or `rediss://` URL, and what the client is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pipelines.errors import BadUrl

_PARAMETERS = ("password_file", "prefix", "ca_file", "cert_file", "key_file", "timeout")
_FILES = {"ca_file": "ssl_ca_certs", "cert_file": "ssl_certfile", "key_file": "ssl_keyfile"}


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
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(given) - set(_PARAMETERS))
        if unknown:
            raise BadUrl(f"{setting}: unknown parameter {unknown[0]!r}, expected among {', '.join(_PARAMETERS)}")
        prefix = given.get("prefix", "everdraft")
        if not prefix or set("{}") & set(prefix):
            raise BadUrl(f"{setting}: prefix is {prefix!r}, expected a name without braces")
        client: dict[str, Any] = {
            "username": unquote(parts.username) if parts.username else None,
            "password": _password(parts.password, given, setting),
        }
        for name, option in _FILES.items():
            if name in given:
                if parts.scheme != "rediss":
                    raise BadUrl(f"{setting}: {name} is given, expected a rediss:// URL")
                if not Path(given[name]).is_file():
                    raise BadUrl(f"{setting}: {name}: there is no file {given[name]!r}")
                client[option] = given[name]
        if parts.scheme == "rediss":
            client["ssl"] = True
        return cls(parts.hostname, port, int(database), prefix, _seconds(given.get("timeout", "2"), setting), client)

    def __str__(self) -> str:
        return f"redis://{self.host}:{self.port}/{self.database}"


def _password(in_url: str | None, given: dict[str, str], setting: str) -> str | None:
    if "password_file" not in given:
        return unquote(in_url) if in_url else None
    try:
        return Path(given["password_file"]).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUrl(f"{setting}: password_file cannot be read: {error}") from None


def _seconds(text: str, setting: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= 60.0:
        raise BadUrl(f"{setting}: timeout is {text!r}, expected seconds, more than 0 and at most 60")
    return seconds
