"""The static heads: the floor that is never trained away, and the first parent of everything learnt online."""

from __future__ import annotations

from pathlib import Path

from pipelines.checkpoint import Checkpoint
from pipelines.errors import ForeignCheckpoint
from pipelines.store import open_store

KIND = "medusa"

UNTRAINED_HEADS = 4
"""Heads for a target that nobody has trained any for: server and trainer both begin with so many, as the identity."""

BUNDLED = Path(__file__).parent.parent / "models" / "demo" / "heads"
"""The bundled target's, made by `make heads`."""


def find_static_heads(folder: Path, *, target: str, tokenizer: str) -> Checkpoint | None:
    """The newest heads in `folder` (a checkpoint store) made for this target; None where there are none.

    Raises CorruptCheckpoint for heads that are damaged.
    """
    return find_static(folder, KIND, target=target, tokenizer=tokenizer)


def find_static(folder: Path, kind: str, *, target: str, tokenizer: str) -> Checkpoint | None:
    """As `find_static_heads`, for any kind of weights."""
    found: list[Checkpoint] = []
    for path in sorted(folder.glob("[!.]*")):
        if path.is_dir():
            try:
                found.append(open_store(folder).load(path.name, target=target, tokenizer=tokenizer, kind=kind))
            except ForeignCheckpoint:
                continue  # another target's, or another kind: the slot of this one is empty
    return max(found, key=lambda checkpoint: checkpoint.manifest.created_at, default=None)
