"""Export: what is written is what others read: the same network, the same tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.draft import DraftModel, DraftShape
from models.errors import BadModel
from models.export import exported
from models.loading import load_target, load_tokenizer
from models.source import bundled_target

SHAPE = DraftShape(hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2)


def made(dtype: torch.dtype) -> tuple[DraftModel, dict[str, torch.Tensor]]:
    config = SHAPE.config_for(load_target(str(bundled_target())).config)
    model = DraftModel(config, torch.Generator().manual_seed(0))
    weights = {name: (4 * tensor.detach()).to(dtype) for name, tensor in model.tensors.items()}
    model.copy_weights(weights)
    return model, weights


def written(folder: Path, dtype: torch.dtype = torch.bfloat16) -> DraftModel:
    model, weights = made(dtype)
    for name, data in exported(model.config, weights, bundled_target()).items():
        (folder / name).write_bytes(data)
    return model


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_transformers_reads_the_same_network_and_the_targets_tokenizer(tmp_path: Path, dtype: torch.dtype) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    model = written(tmp_path, dtype)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.dtype, config.bos_token_id, config.eos_token_id) == (dtype, 0, 4)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokens = torch.randint(0, 8192, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(theirs(tokens).logits, model.logits(model(tokens)), atol=2e-3)
    text = "Once upon a time, a tiny fox had a red kite."
    own = load_tokenizer(str(bundled_target()))
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == own.encode(text)
    assert set(theirs.generation_config.eos_token_id) == own.eos_ids


def test_it_is_a_target_like_any_other(tmp_path: Path) -> None:
    model = written(tmp_path)
    target = load_target(str(tmp_path))
    tokens = torch.arange(40)
    with torch.no_grad():
        own = model.logits(model(tokens.unsqueeze(0)))[0]
    assert torch.allclose(target.decoder.logits(target.decoder.hidden_states(tokens)), own, atol=2e-3)
    assert target.tokenizer.fingerprint == load_tokenizer(str(bundled_target())).fingerprint


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    model, weights = made(torch.bfloat16)
    with pytest.raises(BadModel, match=r"model\.norm\.weight has shape"):
        exported(model.config, {**weights, "model.norm.weight": torch.ones(3)}, bundled_target())
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 4}))
    with pytest.raises(BadModel, match="holds no tokenizer"):
        exported(model.config, weights, tmp_path)
