"""Ragged attention in C (`cpu.c`): for float32 on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.attention.spans import Spans
from kernels.native import loaded, outside

MOST_DIM = 512
"""Numbers of a head that `cpu.c` has room for."""


def write_pages_cpu(keys: Tensor, values: Tensor, slots: Tensor, key: Tensor, value: Tensor) -> None:
    """See `reference.write_pages`. Raises IndexError, and writes nothing, for a slot that is none."""
    num_rows, num_heads, dim = key.shape
    assert keys.is_contiguous()
    assert values.is_contiguous()
    assert slots.dtype == torch.int64
    assert slots.shape == (num_rows,)
    key, value = _rows(key), _rows(value)
    failed = loaded().everdraft_write(
        *(key.data_ptr(), key.stride(0), value.data_ptr(), value.stride(0), num_rows, num_heads, dim),
        *(slots.data_ptr(), keys.shape[1], keys.data_ptr(), values.data_ptr()),
    )
    if failed:
        raise outside("slots", slots, keys.shape[1])


def ragged_attention_cpu(query: Tensor, keys: Tensor, values: Tensor, spans: Spans) -> Tensor:
    """See `reference.ragged_attention`; heads of at most MOST_DIM numbers. Raises MemoryError."""
    num_rows, num_heads, dim = query.shape
    assert keys.is_contiguous()
    assert values.is_contiguous()
    assert num_rows == spans.num_rows
    query, table = _rows(query), spans.table
    result = query.new_empty((num_rows, num_heads, dim))
    failed = loaded().everdraft_attention(
        *(query.data_ptr(), query.stride(0), num_heads, keys.shape[0], dim),
        *(keys.data_ptr(), values.data_ptr(), keys.shape[1]),
        *(table.ctypes.data, len(table), spans.most_keys, dim**-0.5, result.data_ptr(), torch.get_num_threads()),
    )
    if failed:
        raise MemoryError("attention: no memory for the scores")
    return result


def _rows(heads: Tensor) -> Tensor:
    """[T, A, D] with the heads of a row in one piece."""
    return heads if heads.stride(2) == 1 and heads.stride(1) == heads.shape[2] else heads.contiguous()
