"""The layers of a decoder in C (`cpu.c`): the kernels of the other folders, with nothing between them.

Of a pass of the bundled target's six layers, which is some sixty kernels, two thirds of a millisecond were Python.

Legend: T rows, H hidden size, A query heads, K key-value heads, D head size, M layers, S slots, P positions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kernels.attention.spans import Spans
from kernels.linear import Weight
from kernels.linear.address import address_of, panels_of, weight_row
from kernels.native import loaded, outside

_NO_POSITION, _NO_SLOT = -2, -3
"""What `cpu.c` returns where one of them is none."""


class LayerWeights(Protocol):
    """One layer of `models.decoder`, packed by the C kernels."""

    @property
    def input_norm(self) -> Tensor: ...
    @property
    def qkv(self) -> Weight: ...
    @property
    def qkv_bias(self) -> Tensor | None: ...
    @property
    def query_norm(self) -> Tensor | None: ...
    @property
    def key_norm(self) -> Tensor | None: ...
    @property
    def out(self) -> Weight: ...
    @property
    def out_bias(self) -> Tensor | None: ...
    @property
    def mlp_norm(self) -> Tensor: ...
    @property
    def gate_up(self) -> Weight: ...
    @property
    def gate_up_bias(self) -> Tensor | None: ...
    @property
    def down(self) -> Weight: ...
    @property
    def down_bias(self) -> Tensor | None: ...


class PackedLayers:
    """The addresses of all weights, as `cpu.c` reads them. Weights may be written to, but not be replaced."""

    def __init__(self, layers: Sequence[LayerWeights], num_heads: int, num_kv_heads: int, eps: float) -> None:
        self._layers = tuple(layers)
        self._num_heads, self._num_kv_heads, self._eps = num_heads, num_kv_heads, eps
        self.dim = panels_of(self._layers[0].out).num_in // num_heads
        self._table = np.array([_row(layer) for layer in self._layers], np.int64)

    def run(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        positions: Tensor,
        slots: Tensor,
        keys: Tensor,
        values: Tensor,
        spans: Spans,
        captured: Collection[int] = (),
    ) -> dict[int, Tensor]:
        """Turns the embeddings x [T, H] into what the last layer makes of them, in place, and writes keys and values.

        cos, sin: [P, D] of `kernels.rope.rope_table`. positions, slots: [T] int64. keys, values: [M, K, S, D]. captured: layers
        before which the states are wanted, [T, H] each; M: after the last. Raises MemoryError; IndexError, and writes
        nothing, for a position or a slot that is none.
        """
        assert all(each.is_contiguous() for each in (x, cos, sin, positions, slots, keys, values))
        assert x.dtype == keys.dtype == values.dtype == torch.float32
        assert positions.dtype == slots.dtype == torch.int64
        assert len(x) == len(positions) == len(slots) == spans.num_rows
        states = {layer: torch.empty_like(x) for layer in captured}
        where = np.zeros(len(self._layers) + 1, np.int64)
        for layer, tensor in states.items():
            where[layer] = tensor.data_ptr()
        table = spans.table
        failed = loaded().everdraft_layers(
            *(self._table.ctypes.data, len(self._layers), self._num_heads, self._num_kv_heads, self.dim, self._eps),
            *(x.data_ptr(), len(x), cos.data_ptr(), sin.data_ptr(), len(cos), positions.data_ptr(), slots.data_ptr()),
            *(keys.data_ptr(), values.data_ptr(), keys.shape[2], table.ctypes.data, len(table), spans.most_keys),
            *(self.dim**-0.5, where.ctypes.data, torch.get_num_threads()),
        )
        if failed == _NO_POSITION:
            raise outside("positions", positions, len(cos))
        if failed == _NO_SLOT:
            raise outside("slots", slots, keys.shape[2])
        if failed:
            raise MemoryError("layers: no memory for the states of the rows")
        return states


def _row(layer: LayerWeights) -> list[int]:
    """The struct `layer` of `cpu.c`."""
    return [
        layer.input_norm.data_ptr(),
        *weight_row(layer.qkv, layer.qkv_bias),
        address_of(layer.query_norm),
        address_of(layer.key_norm),
        *weight_row(layer.out, layer.out_bias),
        layer.mlp_norm.data_ptr(),
        *weight_row(layer.gate_up, layer.gate_up_bias),
        *weight_row(layer.down, layer.down_bias),
    ]
