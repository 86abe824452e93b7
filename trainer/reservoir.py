"""Reservoir: a sample of older traces against forgetting, the same number of places for every domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import torch

from trainer.kept import Kept

MAX_DOMAINS = 64
"""Domains are labels that clients choose: those beyond share one stratum."""
OTHER = "\x00other"


class Stratum(msgspec.Struct):
    """The places of one domain: each trace that ever came is in it with the same chance (Vitter's algorithm R)."""

    num_seen: int = 0
    traces: list[Kept] = []


class Reservoir:
    """Bounded in number and bytes. No tenant holds more than `tenant_share` of a stratum that others are in too."""

    def __init__(self, max_traces: int, max_bytes: int, tenant_share: float, generator: torch.Generator) -> None:
        self._max_traces = max_traces
        self._max_bytes = max_bytes
        self._tenant_share = tenant_share
        self._generator = generator
        self.strata: dict[str, Stratum] = {}

    def __len__(self) -> int:
        return sum(len(stratum.traces) for stratum in self.strata.values())

    def __iter__(self) -> Iterator[Kept]:
        return (trace for stratum in self.strata.values() for trace in stratum.traces)

    @property
    def num_bytes(self) -> int:
        return sum(each.num_bytes for each in self)

    def add(self, trace: Kept) -> None:
        """Offers a trace; whether it or another goes is drawn."""
        stratum = self._stratum(trace.domain)
        stratum.num_seen += 1
        places = max(1, self._max_traces // len(self.strata))
        self._shrink(places)
        if len(stratum.traces) < places:
            stratum.traces.append(trace)
        elif self._draw(stratum.num_seen) < places:
            rivals = self._rivals(stratum, trace.trace.tenant, places)
            stratum.traces[rivals[self._draw(len(rivals))]] = trace
        self._fit()

    def keep(self, wanted: Callable[[Kept], bool]) -> None:
        """Drops every trace that is not wanted."""
        for stratum in self.strata.values():
            stratum.traces = [each for each in stratum.traces if wanted(each)]
        self._forget_empty()

    def refill(self, strata: dict[str, Stratum]) -> None:
        """Holds these instead."""
        self.strata = strata

    def _stratum(self, domain: str) -> Stratum:
        if domain not in self.strata and len(self.strata) >= MAX_DOMAINS - 1:
            domain = OTHER
        return self.strata.setdefault(domain, Stratum())

    def _rivals(self, stratum: Stratum, tenant: str, places: int) -> list[int]:
        """Places a newcomer may take: all, or only its own tenant's when that holds its share."""
        own = [place for place, each in enumerate(stratum.traces) if each.trace.tenant == tenant]
        full = len(own) >= self._tenant_share * places
        return own if own and full else list(range(len(stratum.traces)))

    def _shrink(self, places: int) -> None:
        for stratum in self.strata.values():
            while len(stratum.traces) > places:
                self._drop_one(stratum)

    def _fit(self) -> None:
        excess = self.num_bytes - self._max_bytes
        while excess > 0 and len(self) > 0:
            largest = max(self.strata.values(), key=lambda stratum: sum(each.num_bytes for each in stratum.traces))
            excess -= self._drop_one(largest).num_bytes

    def _drop_one(self, stratum: Stratum) -> Kept:
        return stratum.traces.pop(self._draw(len(stratum.traces)))

    def _forget_empty(self) -> None:
        self.strata = {domain: stratum for domain, stratum in self.strata.items() if stratum.traces}

    def _draw(self, bound: int) -> int:
        return int(torch.randint(bound, (), generator=self._generator))
