"""The shape of a decoder, read from a Hugging Face `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import BadModel, UnsupportedModel
from models.fields import Fields
from models.rope import RopeConfig

SUPPORTED = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""Architecture by `model_type`."""

DEFAULT_WINDOW = 4096
"""What a Mistral or Qwen file means that does not mention `sliding_window`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Everything the forward pass depends on, and nothing else."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float
    rope: RopeConfig
    tie_embeddings: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            heads = f"num_attention_heads ({self.num_heads})"
            raise BadModel(f"num_key_value_heads is {self.num_kv_heads}; expected a divisor of {heads}")
        if self.head_dim % 2:
            raise BadModel(f"head_dim is {self.head_dim}; expected an even number, as rotation turns pairs")

    @property
    def group(self) -> int:
        """Query heads that share a key-value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def query_size(self) -> int:
        """Width of all query heads together; not always the hidden size."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_kv_heads * self.head_dim

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """The shape that a parsed `config.json` describes, with the defaults of its family.

        Raises UnsupportedModel for what the decoder does not cover, BadModel for a field that is missing or
        makes no sense.
        """
        fields = Fields(values, "config.json")
        family = _family(fields)
        _refuse_variants(fields)
        max_positions = fields.integer("max_position_embeddings", minimum=1)
        _refuse_sliding_window(fields, family, max_positions)
        num_heads = fields.integer("num_attention_heads", minimum=1)
        attention_bias = family in ("llama", "qwen3") and fields.flag("attention_bias", False)
        return cls(
            architecture=SUPPORTED[family],
            vocab_size=fields.integer("vocab_size", minimum=1),
            hidden_size=fields.integer("hidden_size", minimum=1),
            intermediate_size=fields.integer("intermediate_size", minimum=1),
            num_layers=fields.integer("num_hidden_layers", minimum=1),
            num_heads=num_heads,
            num_kv_heads=fields.integer("num_key_value_heads", num_heads, minimum=1),
            head_dim=_head_dim(fields, family, num_heads),
            max_positions=max_positions,
            norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope=RopeConfig.from_fields(fields, max_positions),
            tie_embeddings=fields.flag("tie_word_embeddings", False),
            qkv_bias=attention_bias or family == "qwen2",
            o_bias=attention_bias,
            mlp_bias=family == "llama" and fields.flag("mlp_bias", False),
            qk_norm=family == "qwen3",
        )


def _family(fields: Fields) -> str:
    """The `model_type`; `architectures`, where given, must agree: it tells a classifier from a decoder."""
    family = fields.text("model_type", "")
    architectures = fields.raw("architectures")
    if family not in SUPPORTED or architectures not in (None, [], [SUPPORTED[family]]):
        supported = ", ".join(f"{name} ({architecture})" for name, architecture in SUPPORTED.items())
        given = f"model_type is {family!r}, architectures is {architectures!r}"
        raise UnsupportedModel(f"config.json: {given}; supported: {supported}")
    return family


def _refuse_variants(fields: Fields) -> None:
    activation = fields.text("hidden_act", "silu")
    if activation != "silu":
        raise UnsupportedModel(f"{fields.path('hidden_act')} is {activation!r}; supported: silu")
    for name in ("quantization_config", "compression_config"):
        if fields.given(name):
            raise UnsupportedModel(
                f"{fields.path(name)} is given: quantised weights are not supported; "
                "expected a float32, bfloat16 or float16 checkpoint"
            )


def _refuse_sliding_window(fields: Fields, family: str, max_positions: int) -> None:
    """A window shorter than the context would hide keys that the decoder shows."""
    layers = fields.raw("layer_types")
    if layers is not None and layers != ["full_attention"] * fields.integer("num_hidden_layers"):
        raise UnsupportedModel(f"{fields.path('layer_types')}: only full_attention is supported")
    windowed = family == "mistral" or (family.startswith("qwen") and fields.flag("use_sliding_window", False))
    if not windowed or ("sliding_window" in fields and not fields.given("sliding_window")):
        return
    window = fields.integer("sliding_window", DEFAULT_WINDOW)
    if window < max_positions:
        raise UnsupportedModel(
            f"{fields.path('sliding_window')} is {window}; supported: null, or at least "
            f"max_position_embeddings ({max_positions})"
        )


def _head_dim(fields: Fields, family: str, num_heads: int) -> int:
    if family == "qwen3":
        return fields.integer("head_dim", 128, minimum=1)
    hidden_size = fields.integer("hidden_size", minimum=1)
    if hidden_size % num_heads and not fields.given("head_dim"):
        raise fields.wrong("hidden_size", f"a multiple of num_attention_heads ({num_heads}), or a head_dim")
    return fields.integer("head_dim", hidden_size // num_heads, minimum=1)
