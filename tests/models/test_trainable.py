"""What is trained is the network that is served, family by family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.loading import load_target
from models.trainable import TrainableDecoder
from models.weights import read_weights
from tests.models.families import FAMILIES, random_tokens, save_model


def trainable(family: str, folder: Path) -> TrainableDecoder:
    save_model(family, folder)
    config = load_target(str(folder)).config
    return TrainableDecoder(config, read_weights(folder, config))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_network_that_is_served_and_all_of_it_learns(family: str, tmp_path: Path) -> None:
    model = trainable(family, tmp_path)
    served = load_target(str(tmp_path)).decoder
    tokens = random_tokens(2 * 200).view(2, 200)
    states = model(tokens)
    for row in range(2):
        expected = served.hidden_states(tokens[row])
        assert expected.std() > 0.5
        torch.testing.assert_close(states[row], expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(model.logits(states[row]), served.logits(expected), rtol=0, atol=3e-4)
    model.logits(states).logsumexp(-1).sum().backward()
    assert all(tensor.grad is not None and bool(tensor.grad.any()) for tensor in model.tensors.values())


def test_the_weights_it_was_given_stay_as_they_are(tmp_path: Path) -> None:
    save_model("llama", tmp_path)
    config = load_target(str(tmp_path)).config
    weights = read_weights(tmp_path, config)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    model = TrainableDecoder(config, weights)
    with torch.no_grad():
        for tensor in model.tensors.values():
            tensor.add_(1.0)
    assert all(torch.equal(weights[name], before[name]) for name in weights)
