"""Configs of EAGLE layers: what makes a layer for a target, and what is refused by name."""

from __future__ import annotations

import pytest
import torch

from models.eagle import EagleLayer, expected_shapes, is_parallel, layers_read, shape_of, untrained_config
from models.errors import BadModel
from tests.serving.rig import tiny_decoder

DECODER = tiny_decoder()
TARGET = DECODER.config
CONFIG = untrained_config(TARGET)


@pytest.mark.parametrize("parallel", [False, True])
def test_an_untrained_config_makes_a_layer_as_wide_as_the_targets_own(parallel: bool) -> None:
    config = untrained_config(TARGET, parallel=parallel)
    shape, layers = shape_of(config)
    assert layers == layers_read(TARGET)
    assert (shape.num_layers, shape.hidden_size, shape.max_positions) == (1, TARGET.hidden_size, TARGET.max_positions)
    assert is_parallel(config) is parallel
    layer = EagleLayer(config, DECODER)
    assert {name: tuple(tensor.shape) for name, tensor in layer.tensors.items()} == expected_shapes(shape, parallel=parallel)
    assert layer.config == config


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("low_layer", None, "low_layer is None; expected the number of a layer"),
        ("middle_layer", True, "middle_layer is True; expected the number of a layer"),
        ("high_layer", -1, "high_layer is -1; expected the number of a layer"),
        ("high_layer", TARGET.num_layers + 1, f"high_layer is {TARGET.num_layers + 1}; expected at most {TARGET.num_layers}"),
        ("low_layer", 99, f"low_layer is 99; expected at most {TARGET.num_layers}, the last"),
        ("num_hidden_layers", 2, "num_hidden_layers is 2; expected 1"),
        ("hidden_size", 2 * TARGET.hidden_size, f"hidden_size is {2 * TARGET.hidden_size}; expected {TARGET.hidden_size}, the"),
        ("vocab_size", 7, f"vocab_size is 7; expected {TARGET.vocab_size}, the target's"),
        ("max_position_embeddings", TARGET.max_positions - 1, f"expected at least {TARGET.max_positions}, the target's"),
        ("parallel", False, "parallel is False; expected true, or nothing"),
        ("parallel", 1, "parallel is 1; expected true, or nothing"),
    ],
)
def test_a_config_of_no_layer_for_the_target_is_refused_by_name(field: str, value: int | None, expected: str) -> None:
    config = {name: each for name, each in (CONFIG | {field: value}).items() if each is not None}
    with pytest.raises(BadModel, match=f"^config of an eagle layer: .*{expected}"):
        EagleLayer(config, DECODER)


def test_a_layer_may_read_the_embeddings_and_know_more_positions_than_the_target() -> None:
    config = CONFIG | {"low_layer": 0, "max_position_embeddings": 2 * TARGET.max_positions}
    assert EagleLayer(config, DECODER).layers == (0, *layers_read(TARGET)[1:])


@pytest.mark.parametrize("parallel", [False, True])
def test_weights_of_another_layer_are_refused_by_name_and_change_nothing(parallel: bool) -> None:
    layer = EagleLayer(untrained_config(TARGET, parallel=parallel), DECODER)
    before = {name: tensor.clone() for name, tensor in layer.tensors.items()}
    sound = {name: tensor.detach() + 1.0 for name, tensor in layer.tensors.items()}
    first = "fc.weight"
    for wrong, expected in (
        ({name: tensor for name, tensor in sound.items() if name != first}, f"{first} is missing"),
        (sound | {"more": torch.zeros(1)}, "more is unexpected"),
        (sound | {first: torch.zeros(2, 3)}, rf"{first} has shape \[2, 3\]"),
        (sound | {first: sound[first] * torch.nan}, f"{first} holds numbers that are not finite"),
    ):
        with pytest.raises(BadModel, match=expected):
            layer.copy_weights(wrong)
        assert all(torch.equal(tensor, before[name]) for name, tensor in layer.tensors.items())
    layer.copy_weights(sound)
    assert all(torch.equal(tensor, sound[name]) for name, tensor in layer.tensors.items())
