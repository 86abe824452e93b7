"""A decoder's shape is read from config.json as transformers reads it, or refused with the reason."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from models.config import DecoderConfig
from models.errors import BadModel, UnsupportedModel
from models.rope import RopeConfig

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "max_position_embeddings": 4096,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}


def family(name: str, **changes: Any) -> dict[str, Any]:
    architecture = {"mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama"}[name]
    return {**LLAMA, "model_type": name, "architectures": [f"{architecture}ForCausalLM"], **changes}


def test_a_minimal_llama_gets_the_defaults_of_its_family() -> None:
    config = DecoderConfig.from_hf(LLAMA)
    assert (config.num_kv_heads, config.head_dim, config.group) == (8, 8, 1)
    assert config.rope == RopeConfig(theta=10000.0, scaling=None)
    assert config.norm_eps == 1e-6
    extras = (config.tie_embeddings, config.qkv_bias, config.o_bias, config.mlp_bias, config.qk_norm)
    assert not any(extras)


def test_widths_follow_from_the_heads_not_from_the_hidden_size() -> None:
    config = DecoderConfig.from_hf({**LLAMA, "num_key_value_heads": 2, "head_dim": 16})
    assert (config.query_size, config.kv_size, config.group) == (128, 32, 4)


def test_biases_and_norms_are_those_of_the_family() -> None:
    def parts(name: str, **changes: Any) -> tuple[bool, bool, bool, bool]:
        config = DecoderConfig.from_hf(family(name, sliding_window=None, **changes))
        return config.qkv_bias, config.o_bias, config.mlp_bias, config.qk_norm

    assert parts("llama", attention_bias=True, mlp_bias=True) == (True, True, True, False)
    assert parts("mistral", attention_bias=True, mlp_bias=True) == (False, False, False, False)
    assert parts("qwen2") == (True, False, False, False)
    assert parts("qwen3") == (False, False, False, True)
    assert parts("qwen3", attention_bias=True) == (True, True, False, True)


def test_qwen3_heads_are_128_wide_unless_the_file_says_otherwise() -> None:
    assert DecoderConfig.from_hf(family("qwen3")).head_dim == 128
    assert DecoderConfig.from_hf(family("qwen3", head_dim=32)).head_dim == 32


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}},
        {"rope_theta": 5e5, "rope_scaling": LLAMA3},
        {"rope_theta": 5e5, "rope_scaling": {**LLAMA3, "rope_type": None, "type": "llama3"}},
        {"rope_theta": 5e5, "rope_scaling": None, "rope_parameters": LLAMA3},
    ],
)
def test_rope_is_read_from_old_files_and_new(fields: dict[str, Any]) -> None:
    rope = DecoderConfig.from_hf({**LLAMA, **fields}).rope
    assert rope.theta == 5e5
    assert rope.scaling is not None
    assert rope.scaling.original_max_positions == 1024


def test_rope_theta_alone_is_the_default_rope() -> None:
    for scaling in (None, {"type": "default"}, {"rope_type": "default"}):
        rope = DecoderConfig.from_hf({**LLAMA, "rope_theta": 1e6, "rope_scaling": scaling}).rope
        assert rope == RopeConfig(theta=1e6, scaling=None)


def test_llama3_scaling_keeps_fast_frequencies_and_slows_slow_ones() -> None:
    scaled = DecoderConfig.from_hf({**LLAMA, "rope_parameters": LLAMA3}).rope.frequencies(64)
    plain = RopeConfig().frequencies(64)
    turns = 1024 * plain / (2 * math.pi)
    assert torch.equal(scaled[turns > 4], plain[turns > 4])
    assert torch.equal(scaled[turns < 1], plain[turns < 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert ((scaled < plain) & (scaled > plain / 8))[between].all()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
            r"'gpt2'.*llama .*mistral .*qwen2 .*qwen3",
        ),
        ({"model_type": None, "architectures": None}, r"model_type is ''.*llama"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification.*supported"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; supported: silu"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config is given.*not supported"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear'; supported: default, llama3"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'; supported: default, llama3"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: only 1.0"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: only full_attention"),
        (family("mistral", sliding_window=1024), "sliding_window is 1024; supported: null, or at least"),
        (family("mistral", max_position_embeddings=8192), "sliding_window is 4096"),
        (family("qwen2", use_sliding_window=True, sliding_window=1024), "sliding_window is 1024"),
        (family("qwen3", use_sliding_window=True, sliding_window=1024), "sliding_window is 1024"),
    ],
)
def test_what_the_decoder_does_not_cover_is_refused_with_what_it_does(
    fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        DecoderConfig.from_hf({**LLAMA, **fields})


@pytest.mark.parametrize(
    "values",
    [
        family("mistral", sliding_window=None, max_position_embeddings=8192),
        family("mistral", sliding_window=8192, max_position_embeddings=8192),
        family("mistral"),  # the window such a file means, 4096, covers its 4096 positions
        family("qwen2", use_sliding_window=False, sliding_window=1024),
        family("qwen3", layer_types=["full_attention"] * 2),
        family("llama", sliding_window=16),  # transformers ignores it for this family
    ],
)
def test_a_window_that_hides_nothing_is_accepted(values: dict[str, Any]) -> None:
    assert DecoderConfig.from_hf(values).max_positions == values["max_position_embeddings"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hidden_size": None}, "hidden_size is None; expected an integer of at least 1"),
        ({"vocab_size": "1000"}, "vocab_size is '1000'; expected an integer"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected an integer of at least 1"),
        ({"num_attention_heads": True}, "num_attention_heads is True; expected an integer"),
        ({"num_attention_heads": 7}, r"hidden_size is 64; expected a multiple of num_attention_heads \(7\)"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3; expected a divisor"),
        ({"head_dim": 15}, "head_dim is 15; expected an even number"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan; expected a number above 0"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps is inf; expected a number above 0"),
        ({"rope_theta": -1.0}, "rope_theta is -1.0; expected a number above 0"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; expected true or false"),
        ({"rope_scaling": "llama3"}, "rope_scaling is 'llama3'; expected an object"),
        ({"rope_scaling": {**LLAMA3, "factor": None}}, "config.json: rope_scaling.factor is None; expected"),
        (
            {"rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}},
            r"high_freq_factor is 1.0; expected .* \(1.0\)",
        ),
    ],
)
def test_a_field_that_makes_no_sense_is_named_with_its_value(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadModel, match=reason):
        DecoderConfig.from_hf({**LLAMA, **fields})
