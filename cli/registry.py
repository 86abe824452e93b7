"""`everdraft registry`: makes a lost registry anew."""

from __future__ import annotations

from contextlib import closing

from cli.config import Configuration
from cli.errors import NotThere
from cli.slots import slot_name
from pipelines.rebuild import rebuild as rebuilt
from pipelines.registry import open_registry
from pipelines.store import open_store


def rebuild(config: Configuration) -> None:
    """From the manifests in the checkpoint store. Raises NotThere where that holds none, RegistryError."""
    store = open_store(config.registry.checkpoints)
    with closing(open_registry(config.registry.url)) as registry:
        slots = rebuilt(registry, store)
        for slot, state in slots.items():
            known = len(registry.versions(slot))
            print(f"{slot_name(slot)}: {known} versions, champion {state.champion or 'none'} (generation {state.generation})")
    if not slots:
        raise NotThere(f"no version lies in {store.place}")
