"""A tiny target with random weights, and what drafts for it, as folders."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.draft import DraftModel, DraftShape
from models.hydra import HydraHeads
from models.loading import load_target
from pipelines.store import open_store
from speculator.static_heads import KIND
from tests.models.families import save_model


def save_target(place: Path) -> None:
    """A target in `target/` and, in `heads/` beside it, static heads that nobody trained."""
    save_model("llama-tied", place / "target", max_position_embeddings=2048)
    target = load_target(str(place / "target"))
    heads = HydraHeads(target.config.hidden_size, 2, target.config.vocab_size, target.decoder.input_embeddings())
    torch.manual_seed(1)
    weights = {name: 0.1 * torch.randn_like(weight) for name, weight in heads.state_dict().items()}
    _save(place, "heads", KIND, weights, heads.config)


def save_draft(place: Path) -> None:
    """A draft model for it in `draft/`."""
    shape = DraftShape(hidden_size=16, intermediate_size=24, num_layers=1, num_heads=2, num_kv_heads=1)
    config = load_target(str(place / "target")).config
    draft = DraftModel(shape.config_for(config), torch.Generator().manual_seed(1))
    _save(place, "draft", "draft-lm", {name: tensor.detach() for name, tensor in draft.tensors.items()}, draft.config)


def _save(
    place: Path, folder: str, kind: str, weights: Mapping[str, Tensor], config: Mapping[str, int | float | str | bool]
) -> None:
    loaded = load_target(str(place / "target"))
    open_store(place / folder).save(
        weights,
        kind=kind,
        parent=None,
        target=loaded.fingerprint,
        tokenizer=loaded.tokenizer.fingerprint,
        config=config,
        created_at=time.time(),
    )
