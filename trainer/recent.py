"""Recent: the newest traces, bounded in number and bytes, with no tenant able to crowd the others out."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator

from trainer.kept import Kept


class Recent:
    """When it is full, the oldest trace goes: that of the tenant with the most, while that tenant holds more
    than its share of the places, else the oldest of all.

    tenant_share: of the places, for one tenant among several.
    """

    def __init__(self, max_traces: int, max_bytes: int, tenant_share: float) -> None:
        self._max_traces = max_traces
        self._max_bytes = max_bytes
        self._tenant_share = tenant_share
        self._by_tenant: defaultdict[str, deque[Kept]] = defaultdict(deque)
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Kept]:
        """Oldest first."""
        return iter(sorted((each for held in self._by_tenant.values() for each in held), key=_number))

    @property
    def num_bytes(self) -> int:
        return self._bytes

    @property
    def by_tenant(self) -> dict[str, deque[Kept]]:
        """Oldest first; no tenant without traces."""
        return self._by_tenant

    def add(self, trace: Kept) -> list[Kept]:
        """Takes a trace newer than all others; returns those that had to go."""
        self._by_tenant[trace.trace.tenant].append(trace)
        self._count += 1
        self._bytes += trace.num_bytes
        gone = []
        while self._count > self._max_traces or self._bytes > self._max_bytes:
            gone.append(self._drop_oldest(self._crowded()))
        return gone

    def keep(self, wanted: Callable[[Kept], bool]) -> None:
        """Drops every trace that is not wanted."""
        self.refill([each for each in self if wanted(each)])

    def refill(self, traces: Iterable[Kept]) -> None:
        """Holds these instead, oldest first."""
        self._by_tenant.clear()
        self._count = self._bytes = 0
        for each in traces:
            self.add(each)

    def _crowded(self) -> str:
        largest = max(self._by_tenant, key=lambda tenant: len(self._by_tenant[tenant]))
        if len(self._by_tenant[largest]) > self._tenant_share * self._count:
            return largest
        return min(self._by_tenant, key=lambda tenant: self._by_tenant[tenant][0].number)

    def _drop_oldest(self, tenant: str) -> Kept:
        held = self._by_tenant[tenant]
        oldest = held.popleft()
        if not held:
            del self._by_tenant[tenant]
        self._count -= 1
        self._bytes -= oldest.num_bytes
        return oldest


def _number(trace: Kept) -> int:
    return trace.number
