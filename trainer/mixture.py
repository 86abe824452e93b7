"""Mixture: which traces are studied. Mostly recent ones, some older ones against forgetting, no tenant too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

from trainer.kept import Kept
from trainer.recent import Recent
from trainer.reservoir import Reservoir

Wanted = Callable[[Kept], bool]
_T = TypeVar("_T")


class Mixture:
    """recent_share: of the draws that go to recent traces while there are older ones. tenant_share: of the draws
    from recent ones that go to one tenant among several."""

    def __init__(
        self,
        recent: Recent,
        older: Reservoir,
        *,
        recent_share: float,
        tenant_share: float,
        generator: torch.Generator,
    ) -> None:
        self._recent = recent
        self._older = older
        self._recent_share = recent_share
        self._tenant_share = tenant_share
        self._generator = generator

    def sample(self, count: int, wanted: Wanted) -> list[Kept]:
        """`count` draws, with replacement, of traces that are wanted; none if there is no such trace."""
        recent = self._recent_by_tenant(wanted)
        older = self._older_by_domain(wanted)
        if not recent and not older:
            return []
        shares = capped_shares({tenant: len(held) for tenant, held in recent.items()}, self._tenant_share)
        drawn = []
        for _ in range(count):
            group = recent[self._tenant(shares)] if self._from_recent(recent, older) else self._any(older)
            drawn.append(self._any(group))
        return drawn

    def newest(self, wanted: Wanted) -> Kept | None:
        """A wanted trace to read next: of a tenant drawn as in `sample` the newest, or some older trace."""
        recent = self._recent_by_tenant(wanted)
        older = self._older_by_domain(wanted)
        if not recent and not older:
            return None
        if not self._from_recent(recent, older):
            return self._any(self._any(older))
        shares = capped_shares({tenant: len(held) for tenant, held in recent.items()}, self._tenant_share)
        return recent[self._tenant(shares)][-1]

    def _recent_by_tenant(self, wanted: Wanted) -> dict[str, list[Kept]]:
        chosen = {tenant: [each for each in held if wanted(each)] for tenant, held in self._recent.by_tenant.items()}
        return {tenant: held for tenant, held in chosen.items() if held}

    def _older_by_domain(self, wanted: Wanted) -> list[list[Kept]]:
        chosen = ([each for each in stratum.traces if wanted(each)] for stratum in self._older.strata.values())
        return [held for held in chosen if held]

    def _from_recent(self, recent: Mapping[str, list[Kept]], older: Sequence[list[Kept]]) -> bool:
        if not recent or not older:
            return bool(recent)
        return float(torch.rand((), generator=self._generator)) < self._recent_share

    def _tenant(self, shares: Mapping[str, float]) -> str:
        point = float(torch.rand((), generator=self._generator))
        for tenant, share in shares.items():
            point -= share
            if point < 0:
                return tenant
        return next(iter(shares))  # the shares summed to a hair less than the point

    def _any(self, of: Sequence[_T]) -> _T:
        return of[int(torch.randint(len(of), (), generator=self._generator))]


def capped_shares(counts: Mapping[str, int], cap: float) -> dict[str, float]:
    """Shares in proportion to `counts`, none above `cap` (or above an even share, where that is more).

    They sum to one: what the capped lose, the others gain in proportion.
    """
    cap = max(cap, 1 / max(1, len(counts)))
    free = dict(counts)
    capped: dict[str, float] = {}
    while free:
        left = 1 - sum(capped.values())
        total = sum(free.values())
        over = [name for name, count in free.items() if count / total * left > cap + 1e-9]
        if not over:
            return capped | {name: count / total * left for name, count in free.items()}
        for name in over:
            capped[name] = cap
            del free[name]
    return capped
