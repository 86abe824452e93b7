"""Fan-out: for how many of the target's possible choices, at each length of acceptance, a draft is prepared.

The chance of a hit is the sum over k of P(k accepted) times P(the choice then ranks among the F_k prepared). Both are
measured, and the budget goes where the next one adds most, which is optimal since the ranks' chances fall. With P_k of an assumed
acceptance rate and ranks by a power law this is the capped geometric rule (arXiv 2603.03251, theorem 12).
"""

from __future__ import annotations

from heapq import heapify, heapreplace
from typing import Literal

MOST_RANKS = 32
"""Ranks that are told apart; what ranks lower is not worth preparing for."""
_KEEP = 0.995
"""Weight of the past with each observation: about the last two hundred count."""
_PRIOR = 8.0
"""Observations that the prior counts for."""

Policy = Literal["measured", "uniform", "geometric"]


class FanOut:
    """Learns how drafts end. A row without a draft is one whose draft is empty: its only outcome is k = 0."""

    def __init__(self, policy: Policy = "measured", *, acceptance: float = 0.7) -> None:
        """acceptance: what `geometric` takes for granted."""
        self.policy: Policy = policy
        self._acceptance = acceptance
        self._reached: list[float] = []
        self._accepted: list[float] = []
        """By depth from 0: drafted tokens that were reached, and accepted."""
        prior = [(rank + 1) ** -2.0 for rank in range(MOST_RANKS)]
        scale = _PRIOR / sum(prior)
        # after a rejection the first choice of the drafter is out: the ranks are another story then
        self._ranks = {ended: [scale * each for each in prior] for ended in (False, True)}
        self._ranked = {False: _PRIOR, True: _PRIOR}

    def observe(self, num_drafted: int, num_accepted: int, rank: int | None) -> None:
        """A draft of so many tokens came back.

        rank: from 0, of the target's own choice among those left to prepare for; None: not among the first `MOST_RANKS`.
        """
        while len(self._reached) < num_drafted:
            self._reached.append(1.0)
            self._accepted.append(self._acceptance)
        for depth in range(min(num_accepted + 1, num_drafted)):
            self._reached[depth] = _KEEP * self._reached[depth] + 1
            self._accepted[depth] = _KEEP * self._accepted[depth] + (depth < num_accepted)
        ended = num_accepted == num_drafted
        ranks = self._ranks[ended]
        for each in range(MOST_RANKS):
            ranks[each] *= _KEEP
        self._ranked[ended] = _KEEP * self._ranked[ended] + 1
        if rank is not None:
            ranks[rank] += 1

    def outcomes(self, num_drafted: int) -> list[float]:
        """[num_drafted + 1] the chance of each number of accepted tokens."""
        chances, left, rate = [], 1.0, self._acceptance
        for depth in range(num_drafted):
            if depth < len(self._reached) and self.policy == "measured":  # deeper than ever: as the deepest
                rate = self._accepted[depth] / self._reached[depth]
            chances.append(left * (1 - rate))
            left *= rate
        return [*chances, left]

    def hit_chances(self, *, ended: bool) -> list[float]:
        """[MOST_RANKS] the chance of each rank. ended: after all of the draft was accepted."""
        if self.policy != "measured":
            return [1 / (rank + 1) - 1 / (rank + 2) for rank in range(MOST_RANKS)]  # a miss rate of 1 / (F + 1)
        found = [each / self._ranked[ended] for each in self._ranks[ended]]
        return _falling(found)

    def allot(self, num_drafted: int, budget: int) -> list[int]:
        """[num_drafted + 1] outcomes to prepare at each number of accepted tokens; they sum to `budget`, if there are so many."""
        size = num_drafted + 1
        if self.policy == "uniform":
            return [min(budget // size + (k < budget % size), MOST_RANKS) for k in range(size)]
        outcomes = self.outcomes(num_drafted)
        inside, behind = self.hit_chances(ended=False), self.hit_chances(ended=True)
        gains = [[outcomes[k] * rank for rank in (behind if k == num_drafted else inside)] for k in range(size)]
        allotted = [0] * size
        heap = [(-found[0], k) for k, found in enumerate(gains)]
        heapify(heap)
        for _ in range(min(budget, sum(map(len, gains)))):
            _, k = heap[0]
            allotted[k] += 1
            count = allotted[k]
            heapreplace(heap, (-gains[k][count] if count < len(gains[k]) else 1.0, k))
        return allotted


def _falling(chances: list[float]) -> list[float]:
    """The falling sequence nearest to these, of the same sum: chances fall with the rank, whatever a few observations say.

    (Pool adjacent violators: Ayer et al., 1955.)
    """
    blocks: list[tuple[float, int]] = []
    for chance in chances:
        total, size = chance, 1
        while blocks and blocks[-1][0] * size < total * blocks[-1][1]:
            before, count = blocks.pop()
            total, size = total + before, size + count
        blocks.append((total, size))
    return [total / size for total, size in blocks for _ in range(size)]
