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


def find_static_heads(folder: Path, *, target: str, tokenizer: str, stored: str = "") -> Checkpoint | None:
    """The newest heads in `folder` (a checkpoint store) made for this target; None where there are none.

    stored: see `find_static`. Raises CorruptCheckpoint for heads that are damaged.
    """
    return find_static(folder, KIND, target=target, tokenizer=tokenizer, stored=stored)


def find_static(folder: Path, kind: str, *, target: str, tokenizer: str, stored: str = "") -> Checkpoint | None:
    """As `find_static_heads`, for any kind of weights.

    stored: fingerprint of the target's weights as stored, where `target` is of the same in int8: what was made for them drafts
    for these too, at a small cost in acceptance, as long as there is nothing of their own. Empty: `target` alone.
    """
    own = _newest(folder, kind, target, tokenizer)
    return own or (_newest(folder, kind, stored, tokenizer) if stored not in ("", target) else None)


def _newest(folder: Path, kind: str, target: str, tokenizer: str) -> Checkpoint | None:
    found: list[Checkpoint] = []
    for path in sorted(folder.glob("[!.]*")):
        if path.is_dir():
            try:
                found.append(open_store(folder).load(path.name, target=target, tokenizer=tokenizer, kind=kind))
            except ForeignCheckpoint:
                continue  # another target's, or another kind: the slot of this one is empty
    return max(found, key=lambda checkpoint: checkpoint.manifest.created_at, default=None)
