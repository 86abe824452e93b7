"""EagleSteps: an EAGLE layer as drafts are grown from it: over pages, with its weights packed for few rows.

Legend: T rows, N rows whose outcome is wanted, L layers of the target, H hidden size.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kernels.attention import Span, Spans, ragged_attention, write_pages
from kernels.linear import linear, linear_add, pack_weight
from kernels.norm import rms_norm
from kernels.rope import apply_rope, rope_table
from models.config import DecoderConfig
from models.decoder import Decoder, Layer, Rows, attention, mlp
from models.eagle import MASK_EMBEDDING, MASK_HIDDEN
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
        keys_values = torch.cat([get(f"layers.0.self_attn.{name}.weight") for name in ("k_proj", "v_proj")])
        self._queries, self._keys_values = pack_weight(get("layers.0.self_attn.q_proj.weight")), pack_weight(keys_values)
        self._layer = Layer.packed({name: each.detach() for name, each in weights.items()}, "layers.0", dtype, device)
        self._norm = get("norm.weight")
        if MASK_HIDDEN in weights:
            self._mask_hidden, self._mask_embedding = get(MASK_HIDDEN), get(MASK_EMBEDDING)
        self._ones = torch.ones_like(self._norm)
        self._cos, self._sin = rope_table(shape.rope.frequencies(shape.head_dim).to(device), shape.max_positions, dtype)

    @torch.inference_mode()
    def read(self, features: Tensor, rows: Rows, pages: KeyValuePages, masks: Sequence[int] = ()) -> Tensor:
        """[N, H] for whoever goes on from the scored rows of texts, the last of each; of the other rows only keys and values are
        made, a third of the work. features: [., L H] the target's layers at the place before each row of a text. masks: rows of
        each text, its last, that are masks of a parallel layer, scored as the one before them is; nothing: none of any."""
        shape, masks = self.shape, masks or [0] * len(rows.spans.spans)
        each = features.to(self._norm.dtype).view(len(features), -1, shape.hidden_size)
        before = linear(rms_norm(each, self._ones, shape.norm_eps).flatten(1), self._first)
        embedded = self._decoder.embed(rows.tokens)
        if any(masks):
            before, embedded = self._with_masks(before, embedded, rows, masks)
        joined = self._joined(embedded, before)
        key, value = linear(joined, self._keys_values).view(len(joined), 2, shape.num_kv_heads, -1).unbind(1)
        cos, sin = self._turns(rows.positions)
        write_pages(pages.keys[0], pages.values[0], rows.slots, apply_rope(key, cos, sin), value)
        scored = slice(None) if rows.scored is None else rows.scored
        stops = itertools.accumulate(1 + count for count in masks)
        last = Spans(
            [
                Span(stop - 1 - count, 1 + count, span.keys)
                for stop, count, span in zip(stops, masks, rows.spans.spans, strict=True)
            ]
        )
        query = linear(joined[scored], self._queries).view(last.num_rows, shape.num_heads, -1)
        out = ragged_attention(apply_rope(query, cos[scored], sin[scored]), pages.keys[0], pages.values[0], last)
        return mlp(shape, self._layer, linear_add(before[scored], out.reshape(len(out), -1), self._layer.out))

    @torch.inference_mode()
    def grow(self, before: Tensor, rows: Rows, pages: KeyValuePages) -> Tensor:
        """[T, H] for whoever goes on from these rows; writes their keys and values. before: [T, H] what they go on from."""

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = pages.keys[0], pages.values[0]
            write_pages(keys, values, rows.slots, key, value)
            return ragged_attention(query, keys, values, rows.spans)

        cos, sin = self._turns(rows.positions)
        joined = self._joined(self._decoder.embed(rows.tokens), before)
        return mlp(self.shape, self._layer, attention(self.shape, self._layer, joined, before, cos, sin, attend))

    @torch.inference_mode()
    def states(self, after: Tensor) -> Tensor:
        """[N, H] behind the last norm: through the target's unembedding, the scores of the next token."""
        return rms_norm(after, self._norm, self.shape.norm_eps)

    def _with_masks(self, before: Tensor, embedded: Tensor, rows: Rows, masks: Sequence[int]) -> tuple[Tensor, Tensor]:
        """[T, H] twice: with what stands in the rows of masks. before: [., H] of the other rows alone."""
        masked = torch.zeros(len(embedded), dtype=torch.bool, device=embedded.device)
        for span, count in zip(rows.spans.spans, masks, strict=True):
            masked[span.start + span.num_rows - count : span.start + span.num_rows] = True
        of_texts = (~masked).cumsum(0) - 1  # of each row its place among those of texts
        masked = masked.unsqueeze(1)
        return (
            torch.where(masked, self._mask_hidden, before[of_texts]),
            torch.where(masked, self._mask_embedding, embedded),
        )

    def _joined(self, embedded: Tensor, before: Tensor) -> Tensor:
        """[T, 2 H] what queries, keys and values are made of."""
        eps = self.shape.norm_eps
        return torch.cat((rms_norm(embedded, self._layer.input_norm, eps), rms_norm(before, self._hidden_norm, eps)), 1)

    def _turns(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)
