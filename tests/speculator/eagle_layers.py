"""Tiny EAGLE layers, runners around them, and what they say by the form that is trained."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from models.decoder import Decoder
from models.eagle import EagleLayer, untrained_config
from models.pages import PageTable
from models.weights import expected_shapes
from speculator.batch import Batch, Sampling, Sequence
from speculator.drafts import Drafts
from speculator.eagle import EagleSpeculator
from speculator.eagle_runner import EagleRunner
from speculator.static_eagle import eagle_source
from speculator.verify import Verdicts
from tests.serving.rig import VOCAB, tiny_config, tiny_decoder

FORMS = pytest.mark.parametrize("parallel", [False, True], ids=["token by token", "parallel"])
"""Both forms of a layer."""
PAGE_SIZE, NUM_PAGES = 4, 64
DECODER = tiny_decoder()


def chain_decoder() -> Decoder:
    """A target that is a Markov chain: after token x mostly comes (5 x + 3) mod 48, whatever came before."""
    config = tiny_config(hidden_size=VOCAB, head_dim=12, tie_embeddings=False)
    weights = {name: torch.zeros(shape) for name, shape in expected_shapes(config).items()}
    weights["model.embed_tokens.weight"] = torch.eye(VOCAB)
    weights["model.norm.weight"] = torch.ones(VOCAB)
    for token in range(VOCAB):
        weights["lm_head.weight"][(5 * token + 3) % VOCAB, token] = 1.0
    return Decoder(config, weights, torch.float32, torch.device("cpu"))


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


def text_of(chance: random.Random, length: int) -> list[int]:
    return [chance.randrange(VOCAB) for _ in range(length)]


@torch.no_grad()
def taught(layer: EagleLayer, text: list[int], path: list[int], padding: int = 0) -> Tensor:
    """[H] the state at the last token of `path`, drafted behind `text`, as training has it. Of the path nobody knows features in
    serving: here it has some that are wrong."""
    tokens = torch.tensor([[*[0] * padding, *text, *path]])
    features = torch.zeros(1, tokens.shape[1], 3 * layer.shape.hidden_size)
    features[0, padding : padding + len(text)] = features_of(layer, text)
    features[0, padding + len(text) :] = torch.arange(features.shape[-1]) % 7 - 3.0
    steps = layer.unrolled(tokens, features, len(path) + 1, first=torch.tensor([padding]), last=len(text) + len(path))
    for _ in range(len(path)):
        next(steps)
    return next(steps)[0, -1]


def decoding(source: EagleSpeculator, number: int, sampling: Sampling) -> Sequence:
    """A text of which the target has just chosen the newest token."""
    chance = random.Random(number)
    tokens = [chance.randrange(VOCAB) for _ in range(10 + number)]
    _, captured = DECODER.read(torch.tensor(tokens[:-1]), source.needs_layers)
    pages = PageTable(PAGE_SIZE, range(10 * number, 10 * number + 10))
    sequence = Sequence(number, "tenant", tokens, len(tokens) - 3, sampling, pages=pages, num_written=len(tokens) - 1)
    source.begin(sequence)
    sequence.layers = captured
    source.observe(Batch((sequence,)), Drafts.empty([0]), Verdicts(((),), ((),)))
    return sequence
