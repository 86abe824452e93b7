"""Tiny draft models, and targets made of the same weights."""

from __future__ import annotations

import torch

from models.decoder import Decoder
from models.draft import DraftModel, DraftShape
from models.pages import PagePool
from serving.target import Target
from speculator.draft_runner import DraftRunner
from tests.serving.rig import VOCAB, tiny_config

PAGE_SIZE, NUM_PAGES = 4, 64
SHAPE = DraftShape(hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2)


def draft_model(seed: int = 0, scale: float = 14.0) -> DraftModel:
    """Random weights, large enough that the scores spread and near-ties are rare."""
    model = DraftModel(SHAPE.config_for(tiny_config(vocab_size=VOCAB)), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, tensor in model.tensors.items():
            if not name.endswith("norm.weight"):
                tensor.mul_(scale)
    return model


def decoder_of(model: DraftModel) -> Decoder:
    weights = {name: tensor.detach() for name, tensor in model.tensors.items()}
    return Decoder(model.shape, weights, torch.float32, torch.device("cpu"))


def target_of(model: DraftModel, num_pages: int = NUM_PAGES) -> Target:
    return Target(decoder_of(model), PagePool(num_pages, PAGE_SIZE))


def runner_of(model: DraftModel, num_pages: int = NUM_PAGES) -> DraftRunner:
    return DraftRunner(model, page_size=PAGE_SIZE, num_pages=num_pages, device=torch.device("cpu"), dtype=torch.float32)
