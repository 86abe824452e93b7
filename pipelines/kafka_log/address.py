"""KafkaAddress: a `kafka://` URL, and what the clients are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.errors import BadUrl
from pipelines.url_parameters import parameters, password, tls_files

GROUP = "everdraft-trainer"
MAX_RECORD_BYTES = 1_000_000
"""What a broker takes unless its topic says otherwise (1 MiB), less what comes around a record."""
_SASL = {"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"}
_FILES = {"ca_file": "ssl_cafile", "cert_file": "ssl_certfile", "key_file": "ssl_keyfile"}
_PARAMETERS = ("sasl", "username", "password", "password_file", "tls", *_FILES, "group", "max_record_bytes")
_TIMEOUT_MS = 10_000
"""Of one request: a slow broker is waited for. All of it is spent on threads of our own."""


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Brokers, topic, and how to sign in."""

    brokers: tuple[str, ...]
    """host:port each."""
    topic: str
    group: str = GROUP
    """Consumer group under whose name the reader's position is shown to tools."""
    max_record_bytes: int = MAX_RECORD_BYTES
    security: dict[str, Any] = field(default_factory=dict, repr=False)
    """Settings of kafka-python for TLS and SASL."""

    @classmethod
    def parse(cls, url: str, setting: str = "traffic") -> KafkaAddress:
        """`kafka://host:port,host:port/topic?sasl=scram-sha-512&username=…&password_file=…&ca_file=…`.

        Raises BadUrl, naming the setting and the parameter, for anything else. What the URL says is never repeated in an error,
        for it may hold a password.
        """
        parts = urlsplit(url)
        brokers = tuple(_broker(each, setting) for each in parts.netloc.split(",") if each)
        topic = unquote(parts.path[1:])
        if parts.scheme != "kafka" or not brokers or not topic or "/" in topic or parts.fragment:
            raise BadUrl(f"{setting}: expected kafka://host:port,…/topic?…")
        given = parameters(parts.query, _PARAMETERS, setting)
        max_record = given.get("max_record_bytes", str(MAX_RECORD_BYTES))
        if not max_record.isdecimal() or int(max_record) < 1024:
            raise BadUrl(f"{setting}: max_record_bytes is {max_record!r}, expected at least 1024")
        return cls(brokers, topic, given.get("group") or GROUP, int(max_record), _security(given, setting))

    @property
    def purges(self) -> str:
        """Topic that says which tenants' traces are gone, and up to where."""
        return f"{self.topic}.purges"

    @property
    def dead_letters(self) -> str:
        """Topic of records that no reader could read."""
        return f"{self.topic}.dead"

    @property
    def client(self) -> dict[str, Any]:
        """Settings that every client of kafka-python takes."""
        return {
            "bootstrap_servers": list(self.brokers),
            "client_id": "everdraft",
            "request_timeout_ms": _TIMEOUT_MS,
            "bootstrap_timeout_ms": _TIMEOUT_MS,
            "reconnect_backoff_max_ms": 1000,
            **self.security,
        }

    def __str__(self) -> str:
        return f"kafka://{','.join(self.brokers)}/{self.topic}"


def _broker(text: str, setting: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or "@" in text:
        raise BadUrl(f"{setting}: a broker is not host:port; name and password go into the parameters username and password_file")
    return text


def _security(given: dict[str, str], setting: str) -> dict[str, Any]:
    tls = given.get("tls", "true" if any(name in given for name in _FILES) else "false")
    if tls not in ("true", "false"):
        raise BadUrl(f"{setting}: tls is {tls!r}, expected true or false")
    no_tls = "but tls is false" if tls == "false" else ""
    found: dict[str, Any] = {**tls_files(given, _FILES, setting, no_tls=no_tls)}
    sasl = given.get("sasl")
    if sasl is not None:
        if sasl not in _SASL:
            raise BadUrl(f"{setting}: sasl is {sasl!r}, expected one of {', '.join(_SASL)}")
        secret = password(given, given.get("password"), setting)
        if secret is None:
            raise BadUrl(f"{setting}: password_file (or password) is missing, expected one since sasl is set")
        if not given.get("username"):
            raise BadUrl(f"{setting}: username is missing, expected one since sasl is set")
        found |= {"sasl_mechanism": _SASL[sasl], "sasl_plain_username": given["username"], "sasl_plain_password": secret}
    elif {"username", "password", "password_file"} & set(given):
        raise BadUrl(f"{setting}: sasl is missing, expected one of {', '.join(_SASL)} since a name or password is given")
    protocol = ("SASL_" if sasl else "") + ("SSL" if tls == "true" else "PLAINTEXT")
    return found | {"security_protocol": protocol}
