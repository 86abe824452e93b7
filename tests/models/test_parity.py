"""Our decoder computes what transformers computes, family by family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from kernels.linear import quantise_weight, unpack_weight
from models.loading import Target, bundled_target, load_target
from tests.models.families import FAMILIES, LLAMA3, edit_json, random_tokens, save_model

TOLERANCE = 1e-4
"""Float32 rounding is some 1e-5 on logits of this size; a wrong bias, norm or angle shows above 1e-2."""


def theirs(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(tokens.unsqueeze(0)).logits[0]
    return logits


def ours(target: Target, tokens: Tensor) -> Tensor:
    return target.decoder.logits(target.decoder.hidden_states(tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_transformers(family: str, tmp_path: Path) -> None:
    model = save_model(family, tmp_path)
    tokens = random_tokens(200)  # beyond the 64 positions where the scaled rope leaves the plain one
    expected = theirs(model, tokens)
    assert expected.std() > 0.5, "logits so flat would agree whatever the decoder did"
    torch.testing.assert_close(ours(load_target(str(tmp_path)), tokens), expected, rtol=0, atol=TOLERANCE)


def test_the_parity_check_notices_a_rope_left_unscaled(tmp_path: Path) -> None:
    model = save_model("llama-scaled-rope", tmp_path)
    edit_json(tmp_path / "config.json", rope_parameters={**LLAMA3, "rope_type": "default"})
    tokens = random_tokens(200)
    difference = ours(load_target(str(tmp_path)), tokens) - theirs(model, tokens)
    assert difference.abs().max() > 100 * TOLERANCE


def test_files_of_older_transformers_mean_the_same(tmp_path: Path) -> None:
    model = save_model("llama-scaled-rope", tmp_path)
    scaling = {name: value for name, value in LLAMA3.items() if name != "rope_theta"}
    edit_json(tmp_path / "config.json", rope_parameters=None, rope_theta=10000.0, rope_scaling=scaling)
    tokens = random_tokens(200)
    torch.testing.assert_close(
        ours(load_target(str(tmp_path)), tokens), theirs(model, tokens), rtol=0, atol=TOLERANCE
    )


@pytest.mark.slow
def test_the_bundled_target_answers_a_chat_as_it_does_in_transformers() -> None:
    target = load_target(str(bundled_target()), dtype="float32")
    model = AutoModelForCausalLM.from_pretrained(bundled_target(), dtype=torch.float32)
    conversation = [{"role": "user", "content": "Write a SQL query that counts the rows of table t."}]
    tokens = torch.tensor(target.tokenizer.apply_chat_template(conversation))
    difference = ours(target, tokens) - theirs(model, tokens)
    assert difference.abs().max() < TOLERANCE


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_bfloat16_stays_as_close_as_its_eight_bits_allow(family: str, tmp_path: Path) -> None:
    model = save_model(family, tmp_path)
    target = load_target(str(tmp_path), dtype="bfloat16")
    assert target.decoder.dtype == torch.bfloat16
    tokens = random_tokens(50)
    expected = theirs(model, tokens)
    error = (ours(target, tokens) - expected).pow(2).mean().sqrt() / expected.std()
    assert error < 0.05  # a wrong layer would bring it to about 1


@pytest.mark.parametrize("family", ["llama-biases", "qwen2", "qwen3", "mistral-wide-heads"])
@pytest.mark.parametrize("sizes", [{}, {"intermediate_size": 101, "vocab_size": 333}], ids=["even", "odd"])
def test_int8_is_transformers_with_every_product_s_weight_rounded(
    family: str, sizes: dict[str, int], tmp_path: Path
) -> None:
    model = save_model(family, tmp_path, **sizes)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = unpack_weight(quantise_weight(module.weight.data))
    tokens = random_tokens(80)
    # rows in 16 bits: some 1e-4 on logits of this size, where the weights' own rounding makes 1e-1
    expected = theirs(model, tokens)
    torch.testing.assert_close(ours(load_target(str(tmp_path), dtype="int8"), tokens), expected, rtol=0, atol=3e-3)
    assert (ours(load_target(str(tmp_path)), tokens) - expected).abs().max() > 3e-2


@pytest.mark.parametrize("family", ["llama-tied", "qwen3-tied-biases"])
def test_int8_stays_as_close_as_its_eight_bits_allow(family: str, tmp_path: Path) -> None:
    model = save_model(family, tmp_path)
    target = load_target(str(tmp_path), dtype="int8")
    tokens = random_tokens(50)
    expected = theirs(model, tokens)
    error = (ours(target, tokens) - expected).pow(2).mean().sqrt() / expected.std()
    assert 1e-4 < error < 0.05
    assert torch.equal(target.decoder.output_embeddings(), model.get_input_embeddings().weight), "looked up as they were stored"


def test_a_sharded_checkpoint_is_the_same_model(tmp_path: Path) -> None:
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    save_model("qwen3", whole)
    save_model("qwen3", sharded, shard_size="50KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    one, many = load_target(str(whole)), load_target(str(sharded))
    assert one.fingerprint == many.fingerprint
    tokens = random_tokens(20)
    assert torch.equal(ours(one, tokens), ours(many, tokens))
