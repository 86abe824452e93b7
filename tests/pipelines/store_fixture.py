"""Small weights, and saving and loading them for one target, tokenizer and kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.checkpoint import Manifest
from pipelines.store import CheckpointStore

ROOT = Path(__file__).parents[2]
MADE_FOR = {"target": "target-1", "tokenizer": "tokenizer-1", "kind": "medusa"}


def make_weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(8, 8, generator=generator), "b": torch.randn(8, generator=generator)}


def save(store: CheckpointStore, weights: Mapping[str, Tensor], **fields: Any) -> tuple[Manifest, str]:
    return store.save(weights, **{**MADE_FOR, "parent": None, "config": {}, "created_at": 1.0, **fields})


def load(store: CheckpointStore, location: str, **fields: Any) -> tuple[Manifest, Mapping[str, Tensor]]:
    checkpoint = store.load(location, **{**MADE_FOR, **fields})
    return checkpoint.manifest, checkpoint.weights
