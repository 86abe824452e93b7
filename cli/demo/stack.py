"""What the demo needs of the running stack: one server, one trainer, their log and registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cli.demo.claims import Plain
from cli.demo.prompts import Message
from cli.demo.traffic import Exchange


class Acceptance(msgspec.Struct, frozen=True):
    """Verification steps and the tokens they emitted; counts only grow."""

    steps: float = 0.0
    tokens: float = 0.0

    def __sub__(self, earlier: Acceptance) -> Acceptance:
        return Acceptance(self.steps - earlier.steps, self.tokens - earlier.tokens)

    @property
    def length(self) -> float | None:
        """Mean acceptance length, the bonus token included; None without steps."""
        return self.tokens / self.steps if self.steps > 0 else None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The stack at one moment. Counts start with the server and only grow."""

    version: str
    """Adaptive heads in service."""
    num_swaps: int
    training_step: int
    training_state: str
    num_tokens: int
    """Emitted by the server."""
    static: Acceptance
    """What the static heads alone would have had accepted on the served text."""
    adaptive: Acceptance
    """The same for the adaptive heads in service at the time."""
    served: Acceptance
    """What all sources together really had accepted."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the heads that the trainer put before the gate, or the one the server started with."""

    version: str
    parent: str | None
    created_at: float
    """Unix seconds."""
    num_traces: int
    """Traces learnt from, ancestors' included."""
    gain: float | None
    """Mean gain in tokens per step that the gate found against the champion of the time; None: never
    judged."""
    gain_lower: float | None
    """The gate's lower bound on it."""
    published: bool


class Steps(msgspec.Struct, frozen=True):
    """Verification steps an answer takes when heads draft alone (no suffix tree), its first token not
    counted."""

    static: int
    adaptive: int


class Stack(Protocol):
    """A running stack. Methods may block and are called one at a time, from whatever thread; only
    `num_prompt_tokens` may be called while another runs."""

    @property
    def base_url(self) -> str:
        """Where the API is, `/v1` included."""

    @property
    def api_key(self) -> str: ...

    @property
    def model(self) -> str:
        """Name of the model at the API."""

    @property
    def max_length(self) -> int:
        """Tokens that a prompt and its answer may have together."""

    @property
    def about(self) -> dict[str, str]:
        """What a reader of the report wants to know of target, heads and machine, by title."""

    def status(self) -> Status: ...

    def versions(self) -> list[Version]:
        """Oldest first."""

    def num_prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Length of the rendered prompt."""

    def stop_training(self) -> None:
        """Stops the trainer for good and waits until the server runs the last version it published."""

    def plain(self, exchange: Exchange) -> Plain:
        """The answer to `exchange.prompt_ids` by plain decoding, with the exchange's temperature, seed and
        max_tokens."""

    def replay(self, exchanges: Sequence[Exchange]) -> list[Steps]:
        """Steps each answer takes with the static heads alone and with those in service alone, at the
        deployed budget."""
