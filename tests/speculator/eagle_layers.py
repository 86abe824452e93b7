"""Tiny EAGLE layers, and runners around them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.decoder import Decoder
from models.eagle import EagleLayer, untrained_config
from speculator.eagle import EagleSpeculator
from speculator.eagle_runner import EagleRunner
from speculator.static_eagle import eagle_source
from tests.serving.rig import tiny_decoder

FORMS = pytest.mark.parametrize("parallel", [False, True], ids=["token by token", "parallel"])
"""Both forms of a layer."""
PAGE_SIZE, NUM_PAGES = 4, 64
DECODER = tiny_decoder()


def eagle_layer(seed: int = 0, scale: float = 0.4, decoder: Decoder = DECODER, *, parallel: bool = False) -> EagleLayer:
    """Random weights, large enough that what is read matters; bfloat16 numbers, as checkpoints hold."""
    layer = EagleLayer(untrained_config(decoder.config, parallel=parallel), decoder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in layer.tensors.items():
            random = scale * torch.randn(tensor.shape, generator=generator)
            tensor.copy_((1 + random if name.endswith("norm.weight") else random).bfloat16())
    return layer


def runner_of(layer: EagleLayer, num_pages: int = NUM_PAGES) -> EagleRunner:
    return EagleRunner(layer, page_size=PAGE_SIZE, num_pages=num_pages)


def source_of(layer: EagleLayer, max_tree: int = 12, num_pages: int = NUM_PAGES) -> EagleSpeculator:
    return eagle_source(layer, version="v", max_tree=max_tree, page_size=PAGE_SIZE, num_pages=num_pages)


def features_of(layer: EagleLayer, tokens: list[int]) -> Tensor:
    """[T, L H] what the target's layers say at the place before each token; zeros before the first."""
    _, captured = layer.decoder.read(torch.tensor(tokens), layer.layers)
    states = torch.cat([captured[each] for each in layer.layers], -1)
    return torch.cat((torch.zeros(1, states.shape[-1]), states[:-1]))
