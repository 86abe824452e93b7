"""The versions of a slot, as the demo tells of them."""

from __future__ import annotations

from cli.demo.stack import Version
from pipelines.checkpoint import Manifest
from pipelines.registry import Registry, Slot


def all_versions(registry: Registry, slot: Slot, first: Manifest) -> list[Version]:
    """Oldest first: the static heads the server started with, then what the trainer put before the gate."""
    events = registry.events(limit=10_000)
    published = {event.version for event in events if event.slot == slot and event.action == "published"}
    recorded = registry.versions(slot)
    floor = [] if first.version in {manifest.version for manifest in recorded} else [first]
    return [_version(each, each.version in published, each.version == first.version) for each in (*floor, *recorded)]


def _version(manifest: Manifest, published: bool, is_first: bool) -> Version:
    """What the first heads are said to be worth is whoever made them's word, not the gate's."""
    judged = None if is_first else manifest.evaluation
    return Version(
        version=manifest.version,
        parent=manifest.parent,
        created_at=manifest.created_at,
        num_traces=manifest.span.num_traces,
        gain=judged.gain if judged else None,
        gain_lower=judged.gain_lower if judged else None,
        published=published or is_first,
    )
