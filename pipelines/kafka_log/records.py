"""Records: a trace as Kafka holds it. Key: tenant and conversation, so that a conversation's turns stay in order."""

from __future__ import annotations

import hashlib

from pipelines.trace import Trace

Headers = list[tuple[str, bytes]]

OVERHEAD = 1024
"""Bytes around a trace in a request, at most."""


def headers_of(trace: Trace) -> Headers:
    """For whoever looks at the topic with other tools."""
    return [("schema", f"everdraft.trace/{trace.schema}".encode()), ("content-type", b"application/msgpack")]


def key_of(trace: Trace) -> bytes:
    """16 bytes; neither tenant nor conversation can be read from them."""
    name = f"{len(trace.tenant)}:{trace.tenant}:{trace.conversation}"
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
