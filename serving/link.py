"""EngineLink: the HTTP side's view of an engine, wherever it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from serving.messages import Moved, Refused, Request, Snapshot


class EngineDead(Exception):
    """The engine process is gone; whoever waits for it is told so."""


class RequestRefused(Exception):
    """The engine will never run a request."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class EngineLink(Protocol):
    """Implemented by `serving.engine_process.EngineProcess` and, without a model, by `serving.scripted.ScriptedEngine`."""

    def submit(self, request: Request) -> AsyncIterator[Moved]:
        """Sends the request; yields its share of each step until `finish_reason` is set.

        Raises RequestRefused or EngineDead. Closing the iterator early aborts the request and frees its slot.
        """

    def next_id(self) -> int: ...

    def snapshot(self) -> Snapshot | None:
        """The latest; None before the engine is ready."""

    def alive(self) -> bool: ...

    def set_speculation(self, on: bool) -> None: ...
