"""Swaps on purpose: flipping versions while requests are under way."""

from __future__ import annotations

from bench.rig import Client
from pipelines.checkpoint import Checkpoint


class Flips:
    """Loads the next of `versions` into a client's engine every `every` steps."""

    def __init__(self, client: Client, versions: tuple[Checkpoint, ...], every: int) -> None:
        self._client = client
        self._versions = versions
        self._every = every
        self._num_steps = 0
        self.num_flips = 0

    def after_step(self, moved: object) -> None:
        self._num_steps += 1
        if self._num_steps % self._every == 0:
            self._client.engine.speculator.load(self._versions[self.num_flips % len(self._versions)])
            self.num_flips += 1
