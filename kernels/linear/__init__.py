"""Products of few rows with a large weight: the hot spot of decoding on a CPU."""

from kernels.linear.reference import linear, linear_add, pack_weight

__all__ = ["linear", "linear_add", "pack_weight"]
