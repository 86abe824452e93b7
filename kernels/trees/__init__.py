"""Trees of several sources calibrated, merged and pruned in C: one call for a whole batch."""

from __future__ import annotations

from kernels.trees.cpu import Combiner, Limits

__all__ = ["Combiner", "Limits"]
