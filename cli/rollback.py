"""`everdraft rollback`: takes the champion and its descendants out of service."""

from __future__ import annotations

from cli.config import Configuration
from cli.show import as_json
from cli.slots import chosen, opened, slot_name
from pipelines.registry import SlotState


def rollback(config: Configuration, *, slot: str | None, expected_generation: int | None, reason: str, as_data: bool) -> None:
    """Rolls a slot back and says what that did. Raises NotThere, UsageError, RegistryError."""
    with opened(config) as registry:
        which = chosen(registry.slots(), slot)
        before, sound = registry.state(which), registry.quarantined(which)
        after = registry.rollback(which, expected_generation=expected_generation, detail=reason)
        thrown_out = sorted(registry.quarantined(which) - sound)
    print(as_json(after) if as_data else _story(slot_name(which), before, after, thrown_out))


def _story(name: str, before: SlotState, after: SlotState, thrown_out: list[str]) -> str:
    return (
        f"{name}: {before.champion} is out of service, {after.champion} is champion again "
        f"(generation {after.generation})\n"
        f"quarantined: {', '.join(thrown_out)}\n"
        "Servers take it up at their next poll; the trainer starts again from the champion."
    )
