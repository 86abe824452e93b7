"""TrainableDecoder: the network of `models.decoder`, in a form that can be trained.

The tensors have Hugging Face's names and shapes, so whatever reads checkpoints reads what was learnt.

Legend: B sequences, T tokens of each, H hidden size, A heads, D head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.rope.reference import rope_table
from models.config import DecoderConfig


class NamedTensors(nn.Module):
    """Keeps tensors, float32, by the names they have in files in `tensors`, and how heads of that shape are turned.

    first: what they begin as.
    """

    def __init__(self, shape: DecoderConfig, first: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.shape = shape
        # nn.ParameterDict takes no dots in its keys
        self._names = {name: name.replace(".", "/") for name in first}
        own = {self._names[name]: nn.Parameter(tensor.to(torch.float32, copy=True)) for name, tensor in first.items()}
        self._tensors = nn.ParameterDict(own)
        cos, sin = rope_table(shape.rope.frequencies(shape.head_dim), shape.max_positions, torch.float32)
        self.register_buffer("_cos", cos, persistent=False)
        self.register_buffer("_sin", sin, persistent=False)
        self._cos: Tensor
        self._sin: Tensor

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: self._tensors[key] for name, key in self._names.items()}

    def _get(self, name: str) -> Tensor:
        found: Tensor = self._tensors[self._names[name]]
        return found


class TrainableDecoder(NamedTensors):
    """first: of the shapes that `models.weights.expected_shapes` names, by Hugging Face name."""

    @property
    def device(self) -> torch.device:
        return self._cos.device

    def forward(self, tokens: Tensor) -> Tensor:
        """Hidden states [B, T, H] after the last norm, of tokens [B, T] from position 0 on; padding goes behind the text."""
        x = F.embedding(tokens, self._get("model.embed_tokens.weight"))
        length = tokens.shape[1]
        cos, sin = self._cos[:length], self._sin[:length]
        for index in range(self.shape.num_layers):
            prefix = f"model.layers.{index}"
            x = x + self._attention(prefix, self._norm(x, f"{prefix}.input_layernorm"), cos, sin)
            x = x + self._mlp(f"{prefix}.mlp", self._norm(x, f"{prefix}.post_attention_layernorm"))
        return self._norm(x, "model.norm")

    def output_embeddings(self) -> Tensor:
        """[V, H]: a token's score is its row times the hidden state."""
        return self._get("model.embed_tokens.weight" if self.shape.tie_embeddings else "lm_head.weight")

    def logits(self, hidden: Tensor) -> Tensor:
        """[…, V] of hidden states […, H]."""
        return F.linear(hidden, self.output_embeddings())

    def _linear(self, x: Tensor, name: str) -> Tensor:
        bias = f"{name}.bias"
        return F.linear(x, self._get(f"{name}.weight"), self._get(bias) if bias in self._names else None)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self._get(f"{name}.weight")
        return F.rms_norm(x, weight.shape, weight.to(x.dtype), self.shape.norm_eps)

    def _mlp(self, prefix: str, x: Tensor) -> Tensor:
        gate, up = self._linear(x, f"{prefix}.gate_proj"), self._linear(x, f"{prefix}.up_proj")
        return self._linear(F.silu(gate) * up, f"{prefix}.down_proj")

    def _attention(self, prefix: str, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query, key, value = (self._heads(x, f"{prefix}.self_attn.{name}") for name in ("q_proj", "k_proj", "v_proj"))
        if self.shape.qk_norm:
            query, key = self._norm(query, f"{prefix}.self_attn.q_norm"), self._norm(key, f"{prefix}.self_attn.k_norm")
        query, key = _turn(query, cos, sin), _turn(key, cos, sin)
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return self._linear(out.transpose(1, 2).flatten(2), f"{prefix}.self_attn.o_proj")

    def _heads(self, x: Tensor, name: str) -> Tensor:
        """[B, A, T, D]"""
        joined = self._linear(x, name)
        return joined.view(*joined.shape[:2], -1, self.shape.head_dim).transpose(1, 2)


def _turn(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, A, T, D] turned by position."""
    return heads * cos + heads.roll(heads.shape[-1] // 2, -1) * sin
