"""Ragged attention over paged keys and values: prompt chunks, single tokens and draft trees in one call."""

from kernels.attention.reference import Span, causal_bias, ragged_attention, tree_bias

__all__ = ["Span", "causal_bias", "ragged_attention", "tree_bias"]
