"""Champion: the version in service as the trainer sees it. Static weights stand in where nothing was published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from models.errors import ModelError
from pipelines.checkpoint import Checkpoint, TrafficSpan
from pipelines.errors import BadCheckpoint, StaleGeneration
from pipelines.rebuild import rebuild
from pipelines.registry import Registry, Slot, SlotState
from pipelines.store import CheckpointStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Champion:
    """What a candidate has to beat, and what training starts from."""

    version: str | None
    """None: untrained weights, since there are no others."""
    config: Mapping[str, int | float | str | bool]
    weights: Mapping[str, Tensor]
    span: TrafficSpan

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Champion:
        manifest = checkpoint.manifest
        return cls(manifest.version, manifest.config, checkpoint.weights, manifest.span)

    @classmethod
    def untrained(cls, config: Mapping[str, int | float | str | bool], weights: Mapping[str, Tensor]) -> Champion:
        return cls(None, config, {name: weight.detach() for name, weight in weights.items()}, TrafficSpan())


class Champions:
    """Finds the champion of a slot. floor: who stands in where there is none. at_work: raises ModelError for a champion whose
    config and weights make no model."""

    def __init__(
        self,
        registry: Registry,
        store: CheckpointStore,
        slot: Slot,
        tokenizer: str,
        floor: Champion,
        at_work: Callable[[Champion], object],
    ) -> None:
        self._registry = registry
        self._store = store
        self._slot = slot
        self._tokenizer = tokenizer
        self._floor = floor
        self._at_work = at_work

    def state(self) -> SlotState:
        """Raises RegistryUnavailable."""
        return self._registry.state(self._slot)

    def recover(self, champion: str | None) -> SlotState:
        """Makes a registry anew that has lost what it knew, with the champion that was seen last. Raises RegistryError."""
        log.error("the registry has lost all versions: it is made anew from the manifests in %s", self._store.place)
        with suppress(StaleGeneration):  # another trainer was faster
            rebuild(self._registry, self._store, champion)
        return self.state()

    def quarantined(self, version: str | None) -> bool:
        """Whether a version was rolled back, or descends from one that was. Raises RegistryUnavailable."""
        return version is not None and version in self._registry.quarantined(self._slot)

    def load(self, version: str | None) -> Champion:
        """The weights of `version`, or of the floor for None.

        A champion that cannot be read, or makes no model, is no champion: servers refuse it as well. Raises RegistryUnavailable.
        """
        if version is None:
            return self._floor
        location = self._registry.location(self._slot, version)
        try:
            checkpoint = self._store.load(location, target=self._slot.target, tokenizer=self._tokenizer, kind=self._slot.kind)
            champion = Champion.of(checkpoint)
            self._at_work(champion)
        except (BadCheckpoint, ModelError) as error:
            log.error("champion refused, judging against what servers start with: %s", error)
            return self._floor
        return champion
