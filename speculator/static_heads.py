"""The static heads: the floor that is never trained away, and the first parent of everything learnt online.

And how heads of any kind are made, and become a source of drafts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from kernels.linear import pack_light
from models.config import DecoderConfig
from models.decoder import Decoder
from models.heads import Config, DraftHeads, MedusaHeads
from models.hydra import HydraHeads
from pipelines.checkpoint import Checkpoint
from pipelines.errors import ForeignCheckpoint
from pipelines.store import open_store
from speculator.heads import HeadsSpeculator, Unembed
from speculator.hydra import HydraSpeculator
from speculator.kinds import HYDRA, MEDUSA
from speculator.medusa import MedusaSpeculator
from speculator.vocabulary import DraftVocabulary

KIND = HYDRA
"""Of heads, unless said otherwise."""

UNTRAINED_HEADS = 4
"""Heads for a target that nobody has trained any for: server and trainer both begin with so many, as the identity."""

BUNDLED = Path(__file__).parent.parent / "models" / "demo" / "heads"
"""The bundled target's, made by `make heads`."""


def find_static_heads(
    folder: Path, *, target: str, tokenizer: str, stored: str = "", kind: str = KIND
) -> Checkpoint | None:
    """The newest heads in `folder` (a checkpoint store) made for this target; None where there are none.

    stored: see `find_static`. Raises CorruptCheckpoint for heads that are damaged.
    """
    return find_static(folder, kind, target=target, tokenizer=tokenizer, stored=stored)


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


def heads_of(kind: str, config: Config, decoder: Decoder) -> DraftHeads:
    """Untrained heads of a kind, on the target's device. Raises BadModel for a config that makes none."""
    heads = HydraHeads.from_config(config, decoder.input_embeddings()) if kind == HYDRA else MedusaHeads.from_config(config)
    return heads.to(decoder.device)


def untrained_config(
    kind: str, target: DecoderConfig, num_heads: int = UNTRAINED_HEADS, num_blocks: int = 1
) -> dict[str, int | float | str | bool]:
    """Of heads for a target. num_blocks: of Medusa's alone."""
    shape: dict[str, int | float | str | bool] = {
        "hidden_size": target.hidden_size,
        "num_heads": num_heads,
        "vocab_size": target.vocab_size,
    }
    return {**shape, "num_blocks": num_blocks} if kind == MEDUSA else shape


def served_heads(kind: str, checkpoint: Checkpoint | None, decoder: Decoder) -> DraftHeads:
    """Those of a checkpoint of that kind, in the target's dtype; untrained ones where there is none. Raises BadModel where config
    and weights do not make any."""
    config = checkpoint.manifest.config if checkpoint else untrained_config(kind, decoder.config)
    heads = heads_of(kind, config, decoder)
    if checkpoint is not None:
        heads.copy_weights(checkpoint.weights)
    return heads.to(dtype=decoder.dtype)


def draft_vocabulary(embeddings: Tensor) -> DraftVocabulary:
    """Of heads that the target waits for. embeddings: [V, H] its output embeddings.

    Tokens per step and speed against plain decoding, Hydra heads, ten nodes, texts that nobody had answered before:

        tokens                1,024        2,048        4,096        8,192
        temperature 0.8    2.45  1.30   2.68  1.36   2.79  1.33   2.84  1.22
        greedy             2.81  1.47   2.82  1.48   2.79  1.41   2.74  1.29

    (Where the same texts had been answered before, even 1,024 tokens lost nothing: they were the texts' own.)
    """
    return DraftVocabulary(embeddings, pack=pack_light)


def heads_source(
    heads: DraftHeads,
    unembed: Unembed,
    *,
    name: str,
    version: str,
    max_tree: int = 32,
    vocabulary: DraftVocabulary | None = None,
) -> HeadsSpeculator[Any]:
    """Heads as a source of drafts, whatever their kind."""
    source: type[HeadsSpeculator[Any]] = HydraSpeculator if isinstance(heads, HydraHeads) else MedusaSpeculator
    return source(heads, unembed, name=name, version=version, max_tree=max_tree, vocabulary=vocabulary)
