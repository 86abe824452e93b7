"""`everdraft versions`: what was published, what it gained, and what was thrown out."""

from __future__ import annotations

import time

import msgspec

from cli.config import Configuration
from cli.show import ago, as_json, table
from cli.slots import Wanted, chosen, opened, slot_name
from pipelines.checkpoint import Manifest
from pipelines.registry import Registry, Slot


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it stands in its slot."""

    slot: str
    state: str
    """`champion`, `candidate`, `canary`, `previous`, `quarantined`, or empty."""
    location: str
    manifest: Manifest


def versions(config: Configuration, *, slot: Wanted, as_data: bool) -> None:
    """Prints the versions of one slot, or of all, or of all of a kind, oldest first. Raises NotThere, UsageError."""
    with opened(config) as registry:
        slots = [each for each in registry.slots() if slot.kind in (None, each.kind)]
        if slot.name is not None:
            slots = [chosen(slots, slot)]
        found = [version for each in slots for version in _of(registry, each)]
    print(as_json(found) if as_data else _table(found))


def _of(registry: Registry, slot: Slot) -> list[Version]:
    state, quarantined = registry.state(slot), registry.quarantined(slot)
    marks: dict[str | None, str] = {
        **dict.fromkeys(quarantined, "quarantined"),
        state.previous: "previous",
        state.candidate: "canary" if state.share else "candidate",
        state.champion: "champion",
    }
    return [
        Version(
            slot=slot_name(slot),
            state=marks.get(manifest.version, ""),
            location=registry.location(slot, manifest.version),
            manifest=manifest,
        )
        for manifest in registry.versions(slot)
    ]


def _table(found: list[Version]) -> str:
    if not found:
        return "no version was published yet"
    now = time.time()
    head = ("version", "state", "slot", "made", "parent", "traces", "tokens/step", "gain (99 % bound)")
    return table(head, [_row(each, now) for each in found])


def _row(each: Version, now: float) -> tuple[str, ...]:
    manifest, judged = each.manifest, each.manifest.evaluation
    return (
        manifest.version,
        each.state or "-",
        each.slot,
        ago(manifest.created_at, now),
        manifest.parent or "-",
        str(manifest.span.num_traces),
        f"{judged.tokens_per_step:.3f}" if judged else "-",
        f"{judged.gain:+.3f} ({judged.gain_lower:+.3f})" if judged else "-",
    )
