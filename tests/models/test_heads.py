"""Medusa heads: identity at birth, one batched product, and weights that are taken whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.errors import BadModel
from models.heads import MedusaHeads, PackedMedusa


def random_heads(num_blocks: int = 2) -> MedusaHeads:
    heads = MedusaHeads(hidden_size=16, num_heads=3, num_blocks=num_blocks, vocab_size=50)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return heads


def one_by_one(heads: MedusaHeads, hidden: Tensor) -> Tensor:
    """The definition, head by head and block by block."""
    outputs = []
    for head in range(heads.num_heads):
        state = hidden
        for block in range(heads.num_blocks):
            state = state + F.silu(state @ heads.weight[block, head] + heads.bias[block, head])
        outputs.append(state)
    return torch.stack(outputs, -2)


def test_untrained_heads_predict_what_the_target_predicts() -> None:
    heads = MedusaHeads(hidden_size=16, num_heads=3, num_blocks=2, vocab_size=50)
    hidden = torch.randn(5, 16)
    assert torch.equal(heads(hidden), hidden.unsqueeze(1).expand(5, 3, 16))


def test_untrained_heads_can_learn() -> None:
    heads = MedusaHeads(hidden_size=16, num_heads=3, num_blocks=2, vocab_size=50)
    heads(torch.randn(5, 16)).square().sum().backward()
    for parameter in heads.parameters():
        assert parameter.grad is not None
        assert (parameter.grad.flatten(2) != 0).any(-1).all(), "every head of every block moves"


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 16), (7, 16), (2, 5, 16), (16,), (0, 16)])
def test_the_batched_product_equals_head_by_head(num_blocks: int, shape: tuple[int, ...]) -> None:
    heads = random_heads(num_blocks)
    hidden = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(heads(hidden), one_by_one(heads, hidden), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_packed_heads_are_the_heads_but_for_rounding(num_blocks: int, num_rows: int) -> None:
    heads = random_heads(num_blocks)
    with torch.no_grad():
        heads.weight.copy_((heads.weight * 64).round().clamp(-126, 126) / 128)
        heads.weight[:, :, 0] = 127 / 128  # the largest of each output: 8 bits hold all of them
    hidden = torch.randn(num_rows, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(PackedMedusa(dict(heads.named_parameters()))(hidden), heads(hidden), rtol=1e-3, atol=1e-3)


def test_packed_heads_of_other_weights_are_near_them() -> None:
    heads, hidden = random_heads(), torch.randn(40, 16, generator=torch.Generator().manual_seed(1))
    assert F.cosine_similarity(PackedMedusa(dict(heads.named_parameters()))(hidden), heads(hidden), -1).min() > 0.999


def test_config_and_weights_come_back_from_disk(tmp_path: Path) -> None:
    heads = random_heads()
    save_file(heads.state_dict(), tmp_path / "heads.safetensors")
    again = MedusaHeads.from_config(heads.config)
    again.copy_weights(load_file(tmp_path / "heads.safetensors"))
    hidden = torch.randn(4, 16)
    assert torch.equal(again(hidden), heads(hidden))
    assert again.config == heads.config


def test_new_weights_go_into_the_tensors_in_use() -> None:
    heads = random_heads()
    before = [parameter.data_ptr() for parameter in heads.parameters()]
    heads.copy_weights({name: torch.ones_like(tensor) for name, tensor in heads.state_dict().items()})
    assert [parameter.data_ptr() for parameter in heads.parameters()] == before
    assert all((parameter == 1).all() for parameter in heads.parameters())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bias": torch.full((2, 3, 16), float("nan"))}, "bias holds numbers that are not finite"),
        ({"bias": torch.zeros(2, 3, 17)}, r"bias has shape \[2, 3, 17\]; expected \[2, 3, 16\]"),
        ({"gate": torch.zeros(1)}, "heads: tensor gate is unexpected"),
        ({"bias": None}, "heads: tensor bias is missing"),
    ],
)
def test_unsound_weights_are_refused_and_change_nothing(
    change: dict[str, Tensor | None], reason: str
) -> None:
    heads = random_heads()
    before = {name: tensor.clone() for name, tensor in heads.state_dict().items()}
    offered: dict[str, Tensor | None] = {name: tensor + 1 for name, tensor in before.items()}
    weights = {name: tensor for name, tensor in (offered | change).items() if tensor is not None}
    with pytest.raises(BadModel, match=reason):
        heads.copy_weights(weights)
    assert all(torch.equal(tensor, before[name]) for name, tensor in heads.state_dict().items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_heads": 0}, "num_heads is 0; expected an integer of at least 1"),
        ({"num_heads": 2.5}, "num_heads is 2.5; expected an integer"),
        ({"num_heads": True}, "num_heads is True; expected an integer"),
        ({"colour": 1}, "fields .*colour.*; expected"),
    ],
)
def test_a_config_that_makes_no_heads_is_refused(change: dict[str, int | float], reason: str) -> None:
    with pytest.raises(BadModel, match=reason):
        MedusaHeads.from_config({**random_heads().config, **change})
