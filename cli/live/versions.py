"""The versions of a slot, as the demo tells of them."""

from __future__ import annotations

from cli.demo.stack import Version
from pipelines.checkpoint import Manifest
from pipelines.registry import Registry, Slot


def all_versions(registry: Registry, slot: Slot, first: Manifest | None) -> list[Version]:
    """Oldest first: the static heads the server started with, then what the trainer put before the gate."""
    events = registry.events(limit=10_000)
    published = {event.version for event in events if event.slot == slot and event.action == "published"}
    recorded = registry.versions(slot)
    floor = [] if first is None or first.version in {manifest.version for manifest in recorded} else [first]
    return [_version(manifest, published=manifest.version in published or manifest is first) for manifest in (*floor, *recorded)]


def _version(manifest: Manifest, *, published: bool) -> Version:
    judged = manifest.evaluation
    return Version(
        version=manifest.version,
        parent=manifest.parent,
        created_at=manifest.created_at,
        num_traces=manifest.span.num_traces,
        gain=judged.gain if judged else None,
        gain_lower=judged.gain_lower if judged else None,
        published=published,
    )
