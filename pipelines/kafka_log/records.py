"""Records: a trace as Kafka holds it. Key: tenant and conversation, so that a conversation's turns stay in order."""

from __future__ import annotations

import hashlib

from pipelines.trace import SCHEMA, Trace

Headers = list[tuple[str, bytes]]

HEADERS: Headers = [("schema", f"everdraft.trace/{SCHEMA}".encode()), ("content-type", b"application/msgpack")]
OVERHEAD = 1024
"""Bytes around a trace in a request, at most."""


def key_of(trace: Trace) -> bytes:
    """16 bytes; neither tenant nor conversation can be read from them."""
    name = f"{len(trace.tenant)}:{trace.tenant}:{trace.conversation}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
