"""EagleSpeculator: a layer that goes on from the target's own layers drafts, level by level, before the target verifies.

(EAGLE-3, arXiv 2503.01840; trees as in EAGLE-2, arXiv 2406.16858.)
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

import torch
from torch import Tensor

from models.eagle import check_eagle_weights, is_parallel
from models.errors import BadModel, ModelError
from pipelines.errors import ForeignCheckpoint
from speculator.batch import Batch, Sequence
from speculator.draft_lm import MOST_READ, BranchSpeculator
from speculator.draft_runner import Branch, Track
from speculator.drafts import Drafts
from speculator.eagle_runner import EagleRunner
from speculator.heard import Heard
from speculator.kinds import EAGLE
from speculator.protocol import Checkpoint
from speculator.verify import Verdicts

Unread = tuple[list[tuple[Track, list[int]]], Tensor, dict[int, int]]
"""Texts and what is new of each; the target's layers [T, L H] at the place before each token of that; and for those of the texts
that are then read to their end, by their number, the row of the batch."""


class EagleSpeculator(BranchSpeculator[EagleRunner]):
    """layers: of the target, that the runner's layer reads."""

    def __init__(
        self, runner: EagleRunner, layers: tuple[int, ...], *, name: str = EAGLE, version: str, **growth: Any
    ) -> None:
        """growth: see `BranchSpeculator`."""
        super().__init__(runner, name=name, version=version, **growth)
        self.needs_layers = layers
        self._heard: dict[int, Heard] = {}

    def begin(self, sequence: Sequence) -> None:
        super().begin(sequence)
        self._heard[sequence.id] = Heard()

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Takes note of what the target's layers said of all that it wrote in this step: the place before token p is p - 1."""
        super().observe(batch, drafts, verdicts)
        for sequence in (*batch.decoding, *(chunk.sequence for chunk in batch.chunks)):
            heard = self._heard.get(sequence.id)
            if heard is not None and sequence.layers:
                states = torch.cat([sequence.layers[layer] for layer in self.needs_layers], -1)
                start = sequence.num_written - len(states)
                if start == 0:
                    states = torch.cat((self._runner.nothing_before(states.shape[-1]), states))
                if heard.hear(start + (start > 0), states):  # it gave its pages up, and is read again
                    self._tracks[sequence.id] = Track(sequence.pages)

    def end(self, sequence: Sequence) -> None:
        super().end(sequence)
        self._heard.pop(sequence.id, None)

    def check(self, checkpoint: Checkpoint) -> None:
        manifest = checkpoint.manifest
        try:
            if manifest.kind != EAGLE:
                raise BadModel(f"kind is {manifest.kind!r}, expected {EAGLE!r}")
            runner = self._runner
            if is_parallel(manifest.config) != runner.parallel:
                kinds = ("one that drafts token after token", "a parallel one")
                raise BadModel(f"the eagle layer is {kinds[not runner.parallel]}; expected {kinds[runner.parallel]}")
            if dict(manifest.config) != runner.config:
                raise BadModel(f"the eagle layer's config is {dict(manifest.config)}; expected {runner.config}")
            check_eagle_weights(checkpoint.weights, runner.shape, parallel=runner.parallel)
        except ModelError as error:
            raise ForeignCheckpoint(f"version {manifest.version}: {error}") from error

    def read(self, batch: Batch, asked: SequenceOf[int]) -> tuple[list[int], Tensor]:
        texts, features, through = self.unread(batch, asked)
        if not texts:
            return [], torch.empty(0)
        states = self._runner.read(texts, features)
        return list(through.values()), states[list(through)]

    def unread(self, batch: Batch, asked: SequenceOf[int]) -> Unread:
        """What is to be read now of the texts of these rows."""
        texts, features, through = [], [], {}
        for row in asked:
            sequence = batch.decoding[row]
            track, heard = self._tracks[sequence.id], self._heard[sequence.id]
            length = len(sequence.tokens)
            if heard.stop != length:
                continue  # it came without the target's states
            self._follow(track, heard, sequence)
            start, stop = track.num_read, min(track.num_read + MOST_READ, length)
            texts.append((track, sequence.tokens[start:stop]))
            features.append(heard.read(start, stop))
            if stop == length:
                through[len(texts) - 1] = row
        return texts, torch.cat(features) if features else torch.empty(0), through

    def grow(self, branches: SequenceOf[Branch], parents: Tensor) -> Tensor:
        return self._runner.grow(branches, parents)

    def _follow(self, track: Track, heard: Heard, sequence: Sequence) -> None:
        """Where to read on: at the newest token again, where nothing came after it; behind what was never heard, or let go, which
        is left out."""
        track.pages = sequence.pages
        track.num_read = min(track.num_read, len(sequence.tokens) - 1)
        if not track.first <= heard.start <= track.num_read:
            track.first = track.num_read = heard.start
