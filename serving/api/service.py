"""Service: what every route works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines.registry import Registry, Slot
from serving.api.errors import Busy, Unavailable
from serving.api.metrics import Metrics
from serving.api.settings import ApiSettings
from serving.link import EngineLink
from serving.text import TextTokenizer
from serving.traffic import TrafficRecorder
from speculator.constraint.proving import Prover


class Admission:
    """Counts answers in flight, and turns away what goes beyond the limit."""

    def __init__(self, limit: int, retry_after: int) -> None:
        self._limit = limit
        self._retry_after = retry_after
        self.num_in_flight = 0

    @contextmanager
    def hold(self, num_answers: int) -> Iterator[None]:
        """Room for `num_answers` while the block runs. Raises Busy."""
        if self.num_in_flight + num_answers > self._limit:
            raise Busy(
                f"{self.num_in_flight} answers are running or waiting and {num_answers} more were asked for; "
                f"the limit is {self._limit}",
                self._retry_after,
            )
        self.num_in_flight += num_answers
        try:
            yield
        finally:
            self.num_in_flight -= num_answers


@dataclass(frozen=True, slots=True)
class Service:
    """The HTTP side of one server."""

    engine: EngineLink
    tokenizer: TextTokenizer
    settings: ApiSettings
    traffic: TrafficRecorder
    metrics: Metrics
    admission: Admission
    prover: Prover | None
    """Of constraints; None: whoever asks is trusted."""
    registry: Registry | None = None
    """Its calls block: to be made from a thread. None: there is none, and nothing to administer."""

    @property
    def slot(self) -> Slot:
        """Whose versions are served here. Raises Unavailable before the engine is ready."""
        snapshot = self.engine.snapshot()
        if snapshot is None:
            raise Unavailable("The engine is starting.", self.settings.retry_after)
        return Slot(target=snapshot.target, kind=snapshot.kind)

    @property
    def fingerprint(self) -> str:
        """`system_fingerprint`: the draft versions in service."""
        snapshot = self.engine.snapshot()
        if snapshot is None:
            return "starting"
        versions = [f"{source}@{version[:12]}" for source, version in sorted(snapshot.versions.items())]
        return "-".join([f"g{snapshot.generation}", *versions])
