"""The decoder that target and draft models share: Llama, Mistral, Qwen2 and Qwen3 in one forward pass.

Legend: T rows, H hidden size, A query heads, K key-value heads, D head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import layers as native_layers
from kernels.attention import Spans, ragged_attention, write_pages
from kernels.linear import Weight, linear, linear_add, pack_weight, quantise_weight, unpack_weight
from kernels.norm import rms_norm
from kernels.rope import apply_rope, rope_table
from kernels.swiglu import swiglu
from models.config import DecoderConfig
from models.pages import KeyValuePages


@dataclass(frozen=True, slots=True)
class Rows:
    """One flat run of tokens through the decoder: prompt chunks, single tokens and draft trees side by side."""

    tokens: Tensor
    """[T]"""
    positions: Tensor
    """[T] prefix length + depth."""
    slots: Tensor
    """[T] where each row's keys and values go."""
    spans: Spans
    scored: Tensor | None
    """Rows whose logits are wanted; None: all."""
    read: Tensor | None = None
    """Rows whose hidden states are wanted, to be scored later."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What one pass returns for the scored rows."""

    logits: Tensor
    """[N, V]"""
    hidden: Tensor
    """[N, H] after the last norm."""
    layers: Mapping[int, Tensor]
    """[T, H] for each captured layer, of all rows, scored or not: 0 the embeddings, m after layer m."""
    read: Tensor | None = None
    """[R, H] of the rows to be scored later, after the last norm."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer, packed."""

    input_norm: Tensor
    qkv: Weight
    qkv_bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Weight
    out_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Weight
    gate_up_bias: Tensor | None
    down: Weight
    down_bias: Tensor | None

    @classmethod
    def packed(
        cls,
        weights: Mapping[str, Tensor],
        prefix: str,
        dtype: torch.dtype,
        device: torch.device,
        pack: Callable[[Tensor], Weight] = pack_weight,
    ) -> Layer:
        """From tensors by Hugging Face name, those of the layer beginning with `prefix`."""

        def get(name: str) -> Tensor:
            return weights[f"{prefix}.{name}"].to(device=device, dtype=dtype)

        def optional(name: str) -> Tensor | None:
            return get(name) if f"{prefix}.{name}" in weights else None

        def joined(block: str, *names: str) -> tuple[Weight, Tensor | None]:
            weight = torch.cat([get(f"{block}.{name}.weight") for name in names])
            biases = [optional(f"{block}.{name}.bias") for name in names]
            present = [bias for bias in biases if bias is not None]
            return pack(weight), torch.cat(present) if present else None

        return cls(
            get("input_layernorm.weight"),
            *joined("self_attn", "q_proj", "k_proj", "v_proj"),
            optional("self_attn.q_norm.weight"),
            optional("self_attn.k_norm.weight"),
            *joined("self_attn", "o_proj"),
            get("post_attention_layernorm.weight"),
            *joined("mlp", "gate_proj", "up_proj"),
            *joined("mlp", "down_proj"),
        )


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query [T, A, D], key [T, K, D], value [T, K, D]) -> [T, A, D]"""
AttendByLayer = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""The same, the layer first."""


class Decoder:
    """Weights and the forward pass. It keeps no state of any sequence.

    Built from Hugging Face tensor names; `models.loading` checks names and shapes first. quantised: weights are rounded to 8 bits
    for products with them, and all else is `dtype`, which must be float32 then.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: Mapping[str, Tensor],
        dtype: torch.dtype,
        device: torch.device,
        *,
        quantised: bool = False,
    ) -> None:
        assert dtype == torch.float32 or not quantised
        pack = quantise_weight if quantised else pack_weight
        self.config = config
        self.dtype = dtype
        self.device = device

        def get(name: str) -> Tensor:
            return weights[name].to(device=device, dtype=dtype)

        self._embedding = get("model.embed_tokens.weight")
        self._layers = [Layer.packed(weights, f"model.layers.{index}", dtype, device, pack) for index in range(config.num_layers)]
        self._packed = native_layers.pack_layers(self._layers, config.num_heads, config.num_kv_heads, config.norm_eps)
        self._norm = get("model.norm.weight")
        head = "model.embed_tokens.weight" if config.tie_embeddings else "lm_head.weight"
        self._unembedding: Weight = pack(get(head))
        frequencies = config.rope.frequencies(config.head_dim).to(device)
        self._cos, self._sin = rope_table(frequencies, config.max_positions, dtype)

    @torch.inference_mode()
    def forward(self, rows: Rows, pages: KeyValuePages, capture: Collection[int] = ()) -> Scores:
        """One ragged pass; writes the rows' keys and values to `pages`.

        capture: layers whose hidden states are wanted too (0 to the number of layers).
        """

        captured: dict[int, Tensor] = {}
        states = self._paged(rows, pages, capture, captured)
        hidden = _selected(states, rows.scored)
        return Scores(self.logits(hidden), hidden, captured, None if rows.read is None else states[rows.read])

    @torch.inference_mode()
    def states(self, rows: Rows, pages: KeyValuePages) -> Tensor:
        """[N, H] as `forward`, for who scores them otherwise than with all of the vocabulary."""
        return _selected(self._paged(rows, pages, (), {}), rows.scored)

    @torch.inference_mode()
    def attended(self, tokens: Tensor, positions: Tensor, attend: AttendByLayer) -> Tensor:
        """[T, H] after the last norm, with the attention of whoever wants to see it; nothing is written."""
        return self._run(tokens, positions, attend, (), {})

    def _paged(self, rows: Rows, pages: KeyValuePages, capture: Collection[int], captured: dict[int, Tensor]) -> Tensor:
        if self._packed is not None:
            x = self.embed(rows.tokens)
            places = rows.positions, rows.slots
            captured |= self._packed.run(x, self._cos, self._sin, *places, pages.keys, pages.values, rows.spans, capture)
            return rms_norm(x, self._norm, self.config.norm_eps)

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = pages.keys[layer], pages.values[layer]
            write_pages(keys, values, rows.slots, key, value)
            return ragged_attention(query, keys, values, rows.spans)

        return self._run(rows.tokens, rows.positions, attend, capture, captured)

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """[T, H] after the last norm, for one whole sequence [T], without pages: how the teacher reads."""
        return self.read(tokens)[0]

    @torch.no_grad()
    def read(self, tokens: Tensor, capture: Collection[int] = ()) -> tuple[Tensor, dict[int, Tensor]]:
        """As `hidden_states`, and the states [T, H] of the layers captured."""

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            queries, keys, values = (heads.transpose(0, 1).unsqueeze(0) for heads in (query, key, value))
            out = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
            return out.squeeze(0).transpose(0, 1)

        positions = torch.arange(len(tokens), device=self.device)
        captured: dict[int, Tensor] = {}
        return self._run(tokens.to(self.device), positions, attend, capture, captured), captured

    def embed(self, tokens: Tensor) -> Tensor:
        """[T, H] the input embeddings of tokens [T]."""
        return F.embedding(tokens, self._embedding)

    def input_embeddings(self) -> Tensor:
        """[V, H] what `embed` takes them from. Not to be written to."""
        return self._embedding

    def output_norm(self) -> Tensor:
        """[H] the weight of the last norm. Not to be written to."""
        return self._norm

    def output_embeddings(self) -> Tensor:
        """[V, H]: a token's score is its row times the hidden state. Not to be written to.

        Where they are the embeddings too, a quantised target gives these as well: near enough to draft and to teach with.
        """
        return self._embedding if self.config.tie_embeddings else unpack_weight(self._unembedding)

    def logits(self, hidden: Tensor) -> Tensor:
        """[…, V] float32 from hidden states […, H] after the last norm."""
        flat = linear(hidden.reshape(-1, hidden.shape[-1]), self._unembedding)
        return flat.float().view(*hidden.shape[:-1], flat.shape[-1])

    def _run(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: AttendByLayer,
        capture: Collection[int],
        captured: dict[int, Tensor],
    ) -> Tensor:
        config, x = self.config, self.embed(tokens)
        cos, sin = self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)
        for index, layer in enumerate(self._layers):
            if index in capture:
                captured[index] = x
            normed = rms_norm(x, layer.input_norm, config.norm_eps)
            x = mlp(config, layer, attention(config, layer, normed, x, cos, sin, partial(attend, index)))
        if len(self._layers) in capture:
            captured[len(self._layers)] = x
        return rms_norm(x, self._norm, config.norm_eps)


def attention(
    config: DecoderConfig, layer: Layer, normed: Tensor, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend
) -> Tensor:
    """[T, H] x + attention, from what its queries, keys and values are made of: `normed` [T, H], or wider."""
    num_turned = config.num_heads + config.num_kv_heads
    joined = linear(normed, layer.qkv, layer.qkv_bias)
    heads = joined.view(len(x), num_turned + config.num_kv_heads, config.head_dim)
    turned, value = heads[:, :num_turned], heads[:, num_turned:]
    if layer.query_norm is not None and layer.key_norm is not None:
        query, key = heads[:, : config.num_heads], turned[:, config.num_heads :]
        eps = config.norm_eps
        turned = torch.cat((rms_norm(query, layer.query_norm, eps), rms_norm(key, layer.key_norm, eps)), 1)
    turned = apply_rope(turned, cos, sin)
    out = attend(turned[:, : config.num_heads], turned[:, config.num_heads :], value)
    return linear_add(x, out.reshape(len(x), -1), layer.out, layer.out_bias)


def mlp(config: DecoderConfig, layer: Layer, x: Tensor) -> Tensor:
    """[T, H] x + SwiGLU."""
    gate_up = linear(rms_norm(x, layer.mlp_norm, config.norm_eps), layer.gate_up, layer.gate_up_bias)
    return linear_add(x, swiglu(gate_up), layer.down, layer.down_bias)


def _selected(states: Tensor, rows: Tensor | None) -> Tensor:
    return states if rows is None else states.index_select(0, rows)
