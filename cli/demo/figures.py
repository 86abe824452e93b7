"""The figures of a run: what the report shows, and what stands beside it as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from cli.demo.claims import Claim
from cli.demo.gains import Gain
from cli.demo.stack import Version

SCHEMA = 1
WINDOW = 50
"""Requests that a point of a curve looks back on."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The stack after so many requests. Lengths are mean acceptance lengths over the last WINDOW requests."""

    num_requests: int
    seconds: float
    """Since the first request."""
    static: float | None
    adaptive: float | None
    served: float | None
    tokens_per_second: float
    version: str
    training_step: int


class Mark(msgspec.Struct, frozen=True):
    """Something that happened during the traffic."""

    kind: Literal["phase", "swap"]
    num_requests: int
    """Answered when it happened."""
    label: str


class HeadsRow(msgspec.Struct, frozen=True, kw_only=True):
    """The heads alone on fresh prompts of one domain at one temperature."""

    domain: str
    temperature: float
    num_answers: int
    num_looping: int
    everything: Gain | None
    without_looping: Gain | None
    served: float | None
    """Mean acceptance length that all sources together really had."""


class TrafficRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent of one domain in one phase."""

    phase: str
    domain: str
    num_requests: int
    num_failed: int
    num_tokens: int
    num_looping: int
    median_latency: float | None
    """Seconds."""
    served: float | None


class VersionRow(msgspec.Struct, frozen=True):
    version: Version
    in_service_at: int | None
    """Requests that had been answered when it went into service; None: it never did."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the run was made."""

    started_at: str
    seconds: float
    """From the first request to the last claim."""
    prompts: str
    """Where the prompts came from, in words."""
    seed: int
    temperature: float
    """Of the traffic."""
    concurrency: int
    about: dict[str, str]
    """Target, heads, machine."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run found out."""

    schema: int = SCHEMA
    settings: Settings
    claims: tuple[Claim, ...]
    num_requests: int
    num_tokens: int
    tokens_per_second: float
    """Over the whole of the traffic, trainer and client on the same machine."""
    worst_window: float | None
    """Adaptive over static mean acceptance length in the worst WINDOW requests after the shift."""
    gain: Gain | None
    """Heads alone on the domains after the shift at the traffic's temperature, without looping answers."""
    points: tuple[Point, ...]
    marks: tuple[Mark, ...]
    heads: tuple[HeadsRow, ...]
    traffic: tuple[TrafficRow, ...]
    versions: tuple[VersionRow, ...]

    @property
    def held(self) -> bool:
        return all(claim.held for claim in self.claims)
