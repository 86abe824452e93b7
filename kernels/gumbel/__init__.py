"""Counter-based Gumbel noise: a pure function of (seed, choice, position, token)."""

from kernels.gumbel.reference import gumbel

__all__ = ["gumbel"]
