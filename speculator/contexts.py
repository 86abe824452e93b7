"""Contexts: what is known of the arms, apart by how many answers are generated at once, by how they are chosen, and by whose they
are, where there is evidence."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from speculator.arms import Arm, Arms
from speculator.batch import Batch
from speculator.outlook import Promise

EVIDENCE = 64
"""Steps after which a group is judged by itself: as many as its arms are judged by."""
MOST_GROUPS = 64
"""Of which anything is known; beyond, the one met longest ago is forgotten."""


class Group(NamedTuple):
    """Requests that may well draft alike: a tenant's, of one domain as clients name it (empty: they do not)."""

    tenant: str
    domain: str


class Situation(NamedTuple):
    """Of one step."""

    size: int
    """Logarithm to base 2 of the number of sequences, rounded."""
    sampled: bool
    """Whether most choices are."""
    group: Group | None
    """Of all sequences; None: they are of several."""

    @classmethod
    def of(cls, batch: Batch) -> Situation:
        """batch: with at least one sequence that decodes."""
        decoding = batch.decoding
        sampled = 2 * sum(not sequence.sampling.greedy for sequence in decoding) > len(decoding)
        groups = {Group(sequence.tenant, sequence.domain) for sequence in decoding}
        return cls(size_of(len(decoding)), sampled, groups.pop() if len(groups) == 1 else None)

    def concerns(self, tenant: str) -> bool:
        return self.group is not None and self.group.tenant == tenant


def size_of(num_sequences: int) -> int:
    """See `Situation`."""
    return round(math.log2(num_sequences))


class Contexts:
    """What everybody's steps say of the arms; and what those of a group say that has had enough steps of its own: it starts from
    what is known of everybody."""

    def __init__(self, arms: Sequence[Arm], costly: Collection[Arm] = ()) -> None:
        """See `Arms`."""
        self._all = tuple(arms)
        self._costly = frozenset(costly)
        self._general: dict[tuple[int, bool], Arms] = {}
        self._own: OrderedDict[Situation, Arms] = OrderedDict()
        self._num_steps: OrderedDict[Situation, int] = OrderedDict()

    def arms(self, situation: Situation) -> Arms:
        """Who decides in such a step."""
        return self._own.get(situation) or self._of_all(situation.size, situation.sampled)

    def observe(self, situation: Situation, arm: Arm, gain: float, took: float = 1.0) -> None:
        """What a step with `arm` brought: see `Arms.observe`."""
        self._of_all(situation.size, situation.sampled).observe(arm, gain, took)
        own = self._own.get(situation)
        if own is not None:
            own.observe(arm, gain, took)
            self._own.move_to_end(situation)
        elif situation.group is not None:
            self._count(situation)

    def foresee(self, promise: Promise) -> None:
        """See `Arms.foresee`."""
        size = size_of(promise.num_sequences)
        self._of_all(size, promise.sampled).foresee(promise)
        own = self._own.get(Situation(size, promise.sampled, Group(*promise.group)))
        if own is not None:
            own.foresee(promise)

    def forget(self, source: str) -> None:
        """See `Arms.forget`."""
        for arms in (*self._general.values(), *self._own.values()):
            arms.forget(source)

    def forget_tenant(self, tenant: str) -> None:
        """Nothing of its own is kept, and no name."""
        for situation in [each for each in self._num_steps if each.concerns(tenant)]:
            del self._num_steps[situation]
        for situation in [each for each in self._own if each.concerns(tenant)]:
            del self._own[situation]

    def __iter__(self) -> Iterator[tuple[Situation, Arms]]:
        """Everybody's, then the groups'."""
        yield from ((Situation(size, sampled, None), arms) for (size, sampled), arms in self._general.items())
        yield from self._own.items()

    def _count(self, situation: Situation) -> None:
        steps = self._num_steps.pop(situation, 0) + 1
        self._num_steps[situation] = steps
        if len(self._num_steps) > MOST_GROUPS:
            self._num_steps.popitem(last=False)
        if steps >= EVIDENCE:
            self._own[situation] = self._of_all(situation.size, situation.sampled).copied()
            if len(self._own) > MOST_GROUPS:
                self._own.popitem(last=False)

    def _of_all(self, size: int, sampled: bool) -> Arms:
        if (size, sampled) not in self._general:
            self._general[size, sampled] = Arms(self._all, 1 << size, self._costly)
        return self._general[size, sampled]
