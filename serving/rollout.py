"""Rollout: whether the newer of two versions in service stays, by what both were seen to do at the same time.

Pure: evidence in, a verdict out. Tokens per step and seconds per token are ratios of sums over requests, so their spread comes
from the requests by the delta method (Cochran, Sampling Techniques, section 6.3), and what is compared is the difference of the
logarithms. The evidence is looked at again and again as it comes in: `Z` is set for that (a sequence of looks at a mean that is
nil crosses 3 in about 1 % of simulations of 64 to 2,000 requests, see the tests).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipelines.registry import Ratio, Served

Z = 3.0
"""Standard errors of a bound."""

Decision = Literal["wait", "stay", "go"]


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """Raises ValueError, naming the field, for a value that cannot work."""

    holdback: float = 0.1
    """Share of the requests that the version before goes on serving after a swap, to compare with; 0: none, and no rollback."""
    min_requests: int = 32
    """Requests that each of two versions must have answered before they are compared."""
    max_requests: int = 2000
    """Requests of the newer one after which it is decided by the mean, however close they are."""
    max_drop: float = 0.05
    """Share of its tokens per step that a newer version may lose, as served."""
    max_slowdown: float = 0.1
    """Share of its tokens per second that a newer version may lose, as served."""

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_slowdown"):
            _expect(name, getattr(self, name), 0 < getattr(self, name) < 1, "more than 0 and less than 1")
        _expect("holdback", self.holdback, 0 <= self.holdback <= 0.5, "0 to 0.5")
        _expect("min_requests", self.min_requests, self.min_requests >= 2, "at least 2")
        _expect("max_requests", self.max_requests, self.max_requests >= self.min_requests, "at least min_requests")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with the newer version, and why."""

    decision: Decision
    why: str


def compare(newer: Served, older: Served, settings: RolloutSettings) -> Verdict:
    """`go` where the newer one is worse than it may be, `stay` where it is not, `wait` while nobody can tell."""
    if min(newer.num_requests, older.num_requests) < settings.min_requests:
        return Verdict("wait", f"{newer.num_requests} and {older.num_requests} requests, of {settings.min_requests} needed")
    length = _gain(newer.length, older.length)
    speed = _gain(newer.speed, older.speed)
    allowed = (math.log1p(-settings.max_drop), math.log1p(-settings.max_slowdown))
    why = (
        f"tokens per step {older.length.value:.2f} -> {newer.length.value:.2f} ({length}), "
        f"tokens per second {older.speed.value:.0f} -> {newer.speed.value:.0f} ({speed}), "
        f"{newer.num_requests} and {older.num_requests} requests"
    )
    both = list(zip((length, speed), allowed, strict=True))
    if any(gain.upper < least for gain, least in both):
        return Verdict("go", why)
    if all(gain.lower > least for gain, least in both):
        return Verdict("stay", why)
    if newer.num_requests < settings.max_requests:
        return Verdict("wait", why)
    return Verdict("stay" if all(gain.mean > least for gain, least in both) else "go", why)


@dataclass(frozen=True, slots=True)
class Gain:
    """Difference of two logarithms, and its standard error."""

    mean: float
    error: float

    @property
    def lower(self) -> float:
        return self.mean - Z * self.error

    @property
    def upper(self) -> float:
        return self.mean + Z * self.error

    def __str__(self) -> str:
        return f"{math.expm1(self.mean):+.1%}, at least {math.expm1(self.lower):+.1%}"


def _gain(newer: Ratio, older: Ratio) -> Gain:
    return Gain(math.log(newer.value / older.value), math.sqrt(newer.log_variance + older.log_variance))


def _expect(field: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{field} is {value!r}, expected {expected}")
