"""Ragged attention over paged keys and values: prompt chunks, single tokens and draft trees in one call."""

from __future__ import annotations

from torch import Tensor

from kernels.attention import reference
from kernels.attention.cpu import MOST_DIM, ragged_attention_cpu, write_pages_cpu
from kernels.attention.spans import Span, Spans
from kernels.native import runs_natively


def write_pages(keys: Tensor, values: Tensor, slots: Tensor, key: Tensor, value: Tensor) -> None:
    """See `reference.write_pages`."""
    if runs_natively(keys):
        write_pages_cpu(keys, values, slots, key, value)
    else:
        reference.write_pages(keys, values, slots, key, value)


def ragged_attention(query: Tensor, keys: Tensor, values: Tensor, spans: Spans) -> Tensor:
    """[T, A, D]; see `reference.ragged_attention`."""
    if runs_natively(query) and query.shape[2] <= MOST_DIM:
        return ragged_attention_cpu(query, keys, values, spans)
    return reference.ragged_attention(query, keys, values, spans)


__all__ = ["Span", "Spans", "ragged_attention", "write_pages"]
