"""The static draft model: the one that a server starts with, and how one becomes a source of drafts."""

from __future__ import annotations

from pathlib import Path

import torch

from models.draft import DraftModel
from pipelines.checkpoint import Checkpoint
from speculator.draft_lm import KIND, DraftModelSpeculator
from speculator.draft_runner import DraftRunner
from speculator.drafts import Law
from speculator.redraft import PAGE_SIZE, pages_alone
from speculator.static_heads import find_static

BUNDLED = Path(__file__).parent.parent / "models" / "demo" / "draft"
"""The bundled target's, made by `make draft`."""

_DEPTH, _WIDTH = 5, 3
"""Of trees, where there is room for them."""


def find_static_draft(folder: Path, *, target: str, tokenizer: str, stored: str = "") -> Checkpoint | None:
    """The newest draft model in `folder` (a checkpoint store) made for this target; None where there is none.

    stored: see `find_static`. Raises CorruptCheckpoint for one that is damaged.
    """
    return find_static(folder, KIND, target=target, tokenizer=tokenizer, stored=stored)


def draft_model(checkpoint: Checkpoint) -> DraftModel:
    """Raises BadModel or UnsupportedModel where config and weights do not make one."""
    model = DraftModel.from_config(checkpoint.manifest.config)
    model.copy_weights(checkpoint.weights)
    return model


def draft_source(
    model: DraftModel,
    *,
    version: str,
    max_tree: int,
    device: torch.device,
    dtype: torch.dtype,
    page_size: int = PAGE_SIZE,
    num_pages: int | None = None,
    name: str = KIND,
    law: Law = Law.POINT_MASS,
) -> DraftModelSpeculator:
    """A speculator around a draft model. Pages of its own, numbered as the target's are; None: enough for one text at a time."""
    if num_pages is None:
        num_pages = pages_alone(model.shape.max_positions)
    runner = DraftRunner(model, page_size=page_size, num_pages=num_pages, device=device, dtype=dtype)
    depth = max(1, min(_DEPTH, 1 + max_tree))
    width = max(1, min(_WIDTH, max_tree // max(1, depth - 1)))
    return DraftModelSpeculator(runner, name=name, version=version, max_tree=max_tree, depth=depth, width=width, law=law)
