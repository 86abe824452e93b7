"""How a run of the demo is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoOptions:
    """Times are seconds. With the defaults a run takes at most seven and a half minutes, the start included."""

    folder: Path
    """Where the report goes."""
    files: tuple[Path, ...] = ()
    """Prompts to use instead of the project's own."""
    seed: int = 0
    temperature: float = 0.8
    """Of the traffic."""
    concurrency: int = 4
    phase_seconds: tuple[float, ...] = (70.0, 210.0)
    """Of each phase of the traffic; a phase beyond the last takes as long as the last."""
    phase_requests: int = 1_000_000
    """Requests after which a phase ends even so."""
    patience: float = 45.0
    """By how much the last phase may be prolonged until a version has gone into service during it."""
    num_evaluated: int = 24
    """Fresh prompts of each domain at each of two temperatures, the traffic's and 0."""
    evaluation_seconds: float = 20.0
    """At each temperature, at most."""
    num_checked: int = 120
    """Answers to compare with plain decoding."""
    checking_seconds: float = 45.0
    """At most, once enough answers are compared."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "phase_requests", "num_evaluated", "num_checked"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name, value in (("temperature", self.temperature), ("patience", self.patience)):
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value}, expected 0 or more")
        if not self.phase_seconds or not all(seconds > 0 for seconds in self.phase_seconds):
            raise ValueError(f"phase_seconds is {self.phase_seconds}, expected one or more times above 0")
