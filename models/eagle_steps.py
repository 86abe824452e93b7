"""EagleSteps: an EAGLE layer as drafts are grown from it: over pages, with its weights packed for few rows.

Legend: T rows, N rows whose outcome is wanted, L layers of the target, H hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kernels.attention import ragged_attention, write_pages
from kernels.linear import linear, pack_weight
from kernels.norm import rms_norm
from kernels.rope import rope_table
from models.config import DecoderConfig
from models.decoder import Decoder, Layer, Rows, attention, mlp
from models.pages import KeyValuePages


class EagleSteps:
    """weights: by the names of `models.eagle.expected_shapes`, on any device. decoder: the target, whose embeddings it reads."""

    def __init__(self, shape: DecoderConfig, weights: Mapping[str, Tensor], decoder: Decoder) -> None:
        dtype, device = decoder.dtype, decoder.device

        def get(name: str) -> Tensor:
            return weights[name].detach().to(device=device, dtype=dtype)

        self.shape = shape
        self._decoder = decoder
        self._first = pack_weight(get("fc.weight"))
        self._hidden_norm = get("layers.0.hidden_norm.weight")
        self._layer = Layer.packed({name: each.detach() for name, each in weights.items()}, "layers.0", dtype, device)
        self._norm = get("norm.weight")
        self._ones = torch.ones_like(self._norm)
        self._cos, self._sin = rope_table(shape.rope.frequencies(shape.head_dim).to(device), shape.max_positions, dtype)

    @torch.inference_mode()
    def begin(self, features: Tensor) -> Tensor:
        """[T, H] what rows of the text go on from, of the target's layers [T, L H] at the place before each."""
        each = features.to(self._norm.dtype).view(len(features), -1, self.shape.hidden_size)
        return linear(rms_norm(each, self._ones, self.shape.norm_eps).flatten(1), self._first)

    @torch.inference_mode()
    def __call__(self, before: Tensor, rows: Rows, pages: KeyValuePages) -> Tensor:
        """[N, H] for whoever goes on from these rows; writes their keys and values. before: [T, H] what they themselves go on
        from."""

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = pages.keys[0], pages.values[0]
            write_pages(keys, values, rows.slots, key, value)
            return ragged_attention(query, keys, values, rows.spans)

        shape, layer = self.shape, self._layer
        cos, sin = self._cos[rows.positions].unsqueeze(1), self._sin[rows.positions].unsqueeze(1)
        embedded = rms_norm(self._decoder.embed(rows.tokens), layer.input_norm, shape.norm_eps)
        joined = torch.cat((embedded, rms_norm(before, self._hidden_norm, shape.norm_eps)), 1)
        after = mlp(shape, layer, attention(shape, layer, joined, before, cos, sin, attend))
        return after if rows.scored is None else after.index_select(0, rows.scored)

    @torch.inference_mode()
    def states(self, after: Tensor) -> Tensor:
        """[N, H] behind the last norm: through the target's unembedding, the scores of the next token."""
        return rms_norm(after, self._norm, self.shape.norm_eps)
