"""Lossy: whether answers may be more of a draft than the target would say, and which ones are. Without torch: the HTTP side's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.trace import TYPICAL, Typical

Allowance = Literal["off", "on-request", "default"]
"""Of typical acceptance: for nobody, for requests that ask for it, for all that do not ask for exact answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lossy:
    """Raises ValueError, naming the field, for a value that cannot work."""

    lossy_acceptance: Allowance = "off"
    typical: Typical = TYPICAL

    def __post_init__(self) -> None:
        if self.lossy_acceptance not in get_args(Allowance):
            raise ValueError(f"lossy_acceptance is {self.lossy_acceptance!r}, expected {', '.join(get_args(Allowance))}")
        if not 0 < self.typical.epsilon <= 1:
            raise ValueError(f"lossy_epsilon is {self.typical.epsilon}, expected more than 0, at most 1")
        if not self.typical.delta > 0:
            raise ValueError(f"lossy_delta is {self.typical.delta}, expected more than 0")

    def __str__(self) -> str:
        """What it means, for people."""
        if not self.allowed:
            return "answers are exact"
        who = "that ask for it" if self.lossy_acceptance == "on-request" else "that do not ask for exact ones"
        typical = self.typical
        return (
            f"LOSSY, sampled answers to requests {who} are not the target's own "
            f"(typical acceptance, epsilon {typical.epsilon:g}, delta {typical.delta:g})"
        )

    @property
    def allowed(self) -> bool:
        return self.lossy_acceptance != "off"

    def of(self, asked: bool | None, temperature: float, speculative: bool) -> Typical | None:
        """What is accepted for a request; None: the answer is exact, as greedy ones and those without drafts always are."""
        wanted = self.lossy_acceptance == "default" if asked is None else asked and self.allowed
        return self.typical if wanted and temperature > 0 and speculative else None
