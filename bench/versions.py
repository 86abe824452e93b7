"""Versions to flip between: the heads in service, and a copy that differs a little."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.loading import Target
from pipelines.checkpoint import Checkpoint
from pipelines.store import CheckpointStore
from serving.settings import EngineSettings
from speculator.static_heads import BUNDLED, KIND, find_static_heads, heads_of, untrained_config

NOISE = 0.1
"""Of a perturbed weight, as a share of the spread of its tensor."""


class Versions:
    """Keeps versions for one target in a checkpoint store."""

    def __init__(self, store: CheckpointStore, settings: EngineSettings, target: Target) -> None:
        self.store = store
        self._folder = Path(settings.heads) if settings.heads else BUNDLED
        self._target = target

    def static(self) -> Checkpoint:
        """The static heads; untrained ones where the target has none."""
        target, tokenizer = self._target.fingerprint, self._target.tokenizer.fingerprint
        found = find_static_heads(self._folder, target=target, tokenizer=tokenizer)
        if found is not None:
            return self._saved(found.weights, found.manifest.config, found.manifest.parent)
        heads = heads_of(KIND, untrained_config(KIND, self._target.config), self._target.decoder)
        return self._saved(heads.state_dict(), heads.config, None)

    def perturbed(self, version: Checkpoint) -> Checkpoint:
        """A copy with noise on every weight: it drafts otherwise, and about as well."""
        generator = torch.Generator().manual_seed(0)
        weights = {name: _noisy(weight, generator) for name, weight in version.weights.items()}
        return self._saved(weights, version.manifest.config, version.manifest.version)

    def load(self, location: str) -> Checkpoint:
        target, tokenizer = self._target.fingerprint, self._target.tokenizer.fingerprint
        return self.store.load(location, kind=KIND, target=target, tokenizer=tokenizer)

    def _saved(
        self, weights: Mapping[str, Tensor], config: Mapping[str, int | float | str | bool], parent: str | None
    ) -> Checkpoint:
        manifest, _ = self.store.save(
            weights,
            kind=KIND,
            parent=parent,
            target=self._target.fingerprint,
            tokenizer=self._target.tokenizer.fingerprint,
            config=config,
            created_at=time.time(),
        )
        return Checkpoint(manifest, weights)


def _noisy(weight: Tensor, generator: torch.Generator) -> Tensor:
    spread = float(weight.std()) or 0.02  # untrained heads are all zeros
    return weight + NOISE * spread * torch.randn(weight.shape, generator=generator)
