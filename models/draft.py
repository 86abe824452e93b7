"""DraftModel: a small language model that drafts for a target.

Its weights are an ordinary Llama checkpoint: served by `models.decoder.Decoder`, and read by whatever else reads such files.

Legend: H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from models.config import DecoderConfig
from models.errors import BadModel, UnsupportedModel
from models.trainable import TrainableDecoder
from models.weights import check_tensors, expected_shapes

ConfigValues = dict[str, int | float | str | bool]

_EMBEDDING = "model.embed_tokens.weight"
_INIT = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftShape:
    """How large a draft model is. The defaults suit a target of some ten million weights.

    Raises ValueError, naming the field, for a shape that cannot be.
    """

    hidden_size: int = 128
    intermediate_size: int = 384
    num_layers: int = 2
    num_heads: int = 4
    num_kv_heads: int = 2

    def __post_init__(self) -> None:
        for name in ("hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(f"hidden_size is {self.hidden_size}, expected a multiple of twice num_heads ({self.num_heads})")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads is {self.num_kv_heads}, expected a divisor of num_heads ({self.num_heads})")

    def config_for(self, target: DecoderConfig) -> ConfigValues:
        """`config.json` of a draft of this shape for a target: same vocabulary, same context."""
        return {
            "model_type": "llama",
            "vocab_size": target.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "max_position_embeddings": target.max_positions,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
        }


class DraftModel(TrainableDecoder):
    """Starts from small random numbers."""

    def __init__(self, config: ConfigValues, generator: torch.Generator | None = None) -> None:
        """Raises BadModel or UnsupportedModel for a config that is none of a decoder's."""
        shape = DecoderConfig.from_hf(config)
        if not shape.tie_embeddings:
            raise BadModel("config of a draft model: tie_word_embeddings is false; expected true")
        super().__init__(shape, {name: _first(name, each, generator) for name, each in expected_shapes(shape).items()})
        self.config = dict(config)

    @classmethod
    def from_config(cls, config: Mapping[str, int | float | str | bool]) -> Self:
        return cls(dict(config))

    @classmethod
    def of_layers(cls, target: DecoderConfig, weights: Mapping[str, Tensor], layers: Sequence[int]) -> Self:
        """Some of a target's layers, counted from 0, between its own embeddings: most of what a draft has to learn it knows then.

        weights: of the target, by Hugging Face name. Raises UnsupportedModel for a target whose layers are none that a draft
        model has, BadModel for layers that the target has not.
        """
        for layer in layers:
            if not 0 <= layer < target.num_layers:
                raise BadModel(f"layer {layer} of the target; expected 0 to {target.num_layers - 1}")
        if not layers:
            raise BadModel("no layer of the target is named; expected at least one")
        draft = cls(_config_of_layers(target, len(layers)))
        own = {}
        for name in draft.tensors:
            _, inside, rest = name.partition("model.layers.")
            number, _, part = rest.partition(".")
            own[name] = weights[f"{inside}{layers[int(number)]}.{part}" if inside else name]
        draft.copy_weights(own)
        return draft

    def start_from(self, embeddings: Tensor) -> None:
        """Starts from a target's output embeddings [V, H of the target]: their best approximation in so few dimensions.

        (By singular values, Eckart and Young 1936: products of rows are kept as well as they can be.)
        """
        with torch.no_grad():
            u, s, _ = torch.linalg.svd(embeddings.detach().float().cpu(), full_matrices=False)
            size = min(self.shape.hidden_size, s.shape[0])
            reduced = u[:, :size] * s[:size]
            self._get(_EMBEDDING)[:, :size] = reduced * (embeddings.float().std().item() / reduced.std())

    @torch.no_grad()
    def copy_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights over. Raises BadModel, naming the tensor, if one is not as expected: then all stay as they were."""
        check_draft_weights(weights, self.shape)
        for name, tensor in weights.items():
            self._get(name).copy_(tensor)


def _config_of_layers(target: DecoderConfig, number: int) -> ConfigValues:
    """`config.json` of a draft with so many of a target's layers."""
    values: ConfigValues = {
        "model_type": "llama",
        "vocab_size": target.vocab_size,
        "hidden_size": target.hidden_size,
        "intermediate_size": target.intermediate_size,
        "num_hidden_layers": number,
        "num_attention_heads": target.num_heads,
        "num_key_value_heads": target.num_kv_heads,
        "head_dim": target.head_dim,
        "max_position_embeddings": target.max_positions,
        "rms_norm_eps": target.norm_eps,
        "rope_theta": target.rope.theta,
        "tie_word_embeddings": True,
    }
    asked = replace(target, num_layers=number)
    made = DecoderConfig.from_hf(values)
    for field in fields(made):
        ours, theirs = getattr(made, field.name), getattr(asked, field.name)
        if ours != theirs:
            raise UnsupportedModel(f"layers of this target cannot draft: its {field.name} is {theirs}; expected {ours}")
    return values


def check_draft_weights(weights: Mapping[str, Tensor], shape: DecoderConfig) -> None:
    """Raises BadModel, naming the tensor, for one that is missing, unexpected, mis-shaped or not finite."""
    check_tensors("draft model", weights, expected_shapes(shape))


def _first(name: str, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.ones(shape) if name.endswith("norm.weight") else _INIT * torch.randn(shape, generator=generator)
