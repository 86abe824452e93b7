"""The draft model: one and the same network when it is trained, when it is served, and when transformers reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.config import DecoderConfig
from models.decoder import Decoder
from models.draft import DraftModel, DraftShape
from models.errors import BadModel, UnsupportedModel
from models.loading import load_target
from models.rope import Llama3Scaling, RopeConfig
from models.source import bundled_target
from models.weights import read_weights

SHAPE = DraftShape(hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2)


def made(seed: int = 0) -> DraftModel:
    """One whose numbers are large enough for differences to show."""
    config = SHAPE.config_for(load_target(str(bundled_target())).config)
    model = DraftModel(config, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for tensor in model.tensors.values():
            tensor.mul_(4.0)
    return model


def test_it_is_trained_and_served_as_one_network() -> None:
    model = made()
    tokens = torch.randint(0, 8192, (3, 40), generator=torch.Generator().manual_seed(1))
    decoder = Decoder(model.shape, model.tensors, torch.float32, torch.device("cpu"))
    with torch.no_grad():
        states = model(tokens)
        scores = model.logits(states)
    for row in range(3):
        served = decoder.hidden_states(tokens[row])
        assert torch.allclose(served, states[row], atol=2e-4)
        assert torch.allclose(decoder.logits(served), scores[row], atol=2e-3)


def test_transformers_reads_it_as_the_same_network(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = made()
    (tmp_path / "config.json").write_text(json.dumps({**model.config, "architectures": ["LlamaForCausalLM"]}))
    weights = {name: tensor.detach().clone() for name, tensor in model.tensors.items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokens = torch.randint(0, 8192, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(theirs(tokens).logits, model.logits(model(tokens)), atol=2e-3)


def target_weights() -> tuple[DecoderConfig, dict[str, torch.Tensor]]:
    folder = bundled_target()
    config = DecoderConfig.from_hf(json.loads((folder / "config.json").read_text()))
    return config, read_weights(folder, config)


def test_of_all_its_targets_layers_it_is_the_target() -> None:
    config, weights = target_weights()
    tokens = torch.randint(0, 8192, (1, 24), generator=torch.Generator().manual_seed(1))
    target = Decoder(config, weights, torch.float32, torch.device("cpu"))
    scores = target.logits(target.hidden_states(tokens[0]))
    with torch.no_grad():
        whole = DraftModel.of_layers(config, weights, range(config.num_layers))
        assert torch.allclose(whole.logits(whole(tokens))[0], scores, atol=2e-3)
        turned = DraftModel.of_layers(config, weights, [5, 4, 3, 2, 1, 0])
        assert not torch.allclose(turned.logits(turned(tokens))[0], scores, atol=1.0)


def test_of_some_layers_it_has_those_in_that_order() -> None:
    config, weights = target_weights()
    draft = DraftModel.of_layers(config, weights, [0, 5])
    for name in ("self_attn.q_proj.weight", "mlp.down_proj.weight", "input_layernorm.weight"):
        for own, theirs in ((0, 0), (1, 5)):
            assert torch.equal(draft.tensors[f"model.layers.{own}.{name}"], weights[f"model.layers.{theirs}.{name}"].float())
    assert len(draft.tensors) == 2 * 9 + 2


@pytest.mark.parametrize("layers", [[0, 6], [-1], []])
def test_layers_that_a_target_has_not_are_told_by_number(layers: list[int]) -> None:
    config, weights = target_weights()
    with pytest.raises(BadModel, match=r"expected 0 to 5|expected at least one"):
        DraftModel.of_layers(config, weights, layers)


@pytest.mark.parametrize(
    "change",
    [
        {"tie_embeddings": False},
        {"qk_norm": True},
        {"qkv_bias": True},
        {"rope": RopeConfig(10000.0, Llama3Scaling(8.0, 1.0, 4.0, 8192))},
    ],
)
def test_a_target_of_other_layers_is_refused_by_what_is_in_the_way(change: dict[str, Any]) -> None:
    config, weights = target_weights()
    with pytest.raises(UnsupportedModel, match=f"its {next(iter(change))} is"):
        DraftModel.of_layers(replace(config, **change), weights, [0])


def test_what_comes_later_and_padding_change_nothing() -> None:
    model = made()
    tokens = torch.randint(0, 8192, (1, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole, begun = model(tokens), model(tokens[:, :9])
    assert torch.allclose(whole[:, :9], begun, atol=1e-5)


def test_every_tensor_gets_a_gradient() -> None:
    model = made()
    tokens = torch.randint(0, 8192, (2, 12), generator=torch.Generator().manual_seed(1))
    model.logits(model(tokens)).square().mean().backward()
    assert all(tensor.grad is not None and bool(tensor.grad.any()) for tensor in model.tensors.values())


def test_it_starts_from_the_targets_own_embeddings() -> None:
    model = made()
    embeddings = torch.randn(8192, 64, generator=torch.Generator().manual_seed(2))
    model.start_from(embeddings)
    own = model.tensors["model.embed_tokens.weight"].detach()
    u, s, v = torch.linalg.svd(embeddings, full_matrices=False)
    best = (u[:, :32] * s[:32]) @ v[:32]
    likeness = torch.nn.functional.cosine_similarity((own @ own.T)[:50].flatten(), (best @ best.T)[:50].flatten(), dim=0)
    assert likeness > 0.999
    assert own.std().item() == pytest.approx(embeddings.std().item(), rel=1e-3)


def test_weights_are_taken_over_whole_or_not_at_all() -> None:
    ours, theirs = made(0), made(1)
    weights = dict(theirs.tensors)
    norm = "model.norm.weight"
    bad = {
        "missing": {name: tensor for name, tensor in weights.items() if name != norm},
        "unexpected": {**weights, "lm_head.weight": weights[norm]},
        "shape": {**weights, norm: torch.ones(3)},
        "not finite": {**weights, norm: torch.full((32,), torch.nan)},
    }
    before = ours.tensors["model.embed_tokens.weight"].detach().clone()
    for why, each in bad.items():
        with pytest.raises(BadModel, match=why):
            ours.copy_weights(each)
    assert torch.equal(ours.tensors["model.embed_tokens.weight"], before)
    ours.copy_weights(weights)
    assert torch.equal(ours.tensors[norm], theirs.tensors[norm])


@pytest.mark.parametrize(
    ("field", "value"), [("hidden_size", 0), ("hidden_size", 30), ("num_kv_heads", 3), ("num_layers", 0)]
)
def test_a_shape_that_cannot_be_is_named(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{field} is {value}"):
        DraftShape(**{field: value})
