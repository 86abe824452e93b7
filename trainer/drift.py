"""Drift: notices that drafts are accepted less than they were, from what servers wrote into the traces."""

from __future__ import annotations

import msgspec

SHORT, LONG = 0.98, 0.998
"""Weight the past keeps with each trace: about the last fifty, and the last five hundred."""
FELL = 0.88
"""Of the long mean: a short mean below it is a shift, not noise (TIDE's rule, arXiv 2602.05145)."""


class Drift(msgspec.Struct):
    """Two running means of the acceptance length of traces."""

    short: float = 0.0
    long: float = 0.0
    num_traces: int = 0

    def see(self, acceptance_length: float) -> bool:
        """Takes one more trace; True when the short mean has fallen away from the long one."""
        self.num_traces += 1
        self.short += (1 - self._keep(SHORT)) * (acceptance_length - self.short)
        self.long += (1 - self._keep(LONG)) * (acceptance_length - self.long)
        if self.num_traces < 1 / (1 - SHORT) or self.short >= FELL * self.long:
            return False
        self.long = self.short  # the shift is told; only a further fall is news
        return True

    def _keep(self, weight: float) -> float:
        return min(weight, 1 - 1 / self.num_traces)
