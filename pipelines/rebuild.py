"""Rebuild: a registry that was lost, from the manifests that lie beside the weights."""

from __future__ import annotations

from collections import defaultdict

from pipelines.checkpoint import Manifest
from pipelines.registry import Registry, Slot, SlotState
from pipelines.store import CheckpointStore


def rebuild(registry: Registry, store: CheckpointStore, champion: str | None = None) -> dict[Slot, SlotState]:
    """Records every version of the store, and makes champions where there are none; returns the slots as they stand.

    Champion becomes `champion`, if somebody knows which it was; else the newest version that passed the gate, for that is what
    the manifests tell. They do not tell of rollbacks: a version that was rolled back must be rolled back again. What the
    registry knows already stays. Raises RegistryError.
    """
    by_slot: defaultdict[Slot, list[Manifest]] = defaultdict(list)
    for manifest in store.manifests():
        slot = Slot(target=manifest.target, kind=manifest.kind, scope=manifest.scope)
        registry.record(slot, manifest, manifest.version)
        by_slot[slot].append(manifest)
    for slot, manifests in by_slot.items():
        state, quarantined = registry.state(slot), registry.quarantined(slot)
        sound = [each for each in manifests if each.version not in quarantined]
        best = [each for each in sound if each.version == champion] or [each for each in sound if _passed(each)]
        if state.champion is None and best:
            detail = "rebuilt from manifests"
            registry.publish(slot, best[-1], best[-1].version, expected_generation=state.generation, detail=detail)
    return {slot: registry.state(slot) for slot in by_slot}


def _passed(manifest: Manifest) -> bool:
    """Whether the gate let it through: it gained by the gate's own bound."""
    return manifest.evaluation is not None and manifest.evaluation.gain_lower > 0
