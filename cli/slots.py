"""Slots on the command line: how one is written, and which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cli.config import Configuration
from cli.errors import NotThere, UsageError
from pipelines.registry import Kind, Registry, Slot, open_registry
from pipelines.traffic_log import sqlite_path


def slot_name(slot: Slot) -> str:
    """`medusa/3fa94c01/all`: kind, start of the target's fingerprint, scope."""
    return f"{slot.kind}/{slot.target[:8]}/{slot.scope}"


def opened(config: Configuration) -> closing[Registry]:
    """The registry, to be closed by `with`. Raises NotThere when nobody has written one yet."""
    url = config.registry.url
    if url.startswith("sqlite:") and not Path(sqlite_path(url, "registry")).exists():
        raise NotThere(
            f"no registry at {url} yet: a server or trainer makes it; if one runs, give the same --data or --registry here"
        )
    return closing(open_registry(url))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was said of a slot; None: nothing."""

    name: str | None = None
    """Part of its name."""
    kind: Kind | None = None

    def __str__(self) -> str:
        return " ".join(each for each in (self.kind, self.name) if each is not None)

    def __bool__(self) -> bool:
        return self != Wanted()

    def fits(self, slot: Slot) -> bool:
        return (self.name is None or self.name in slot_name(slot)) and self.kind in (None, slot.kind)


def chosen(slots: Sequence[Slot], wanted: Wanted) -> Slot:
    """The slot that is wanted; the only one, where nothing is said.

    Raises NotThere where there is none, UsageError where there are several.
    """
    found = [slot for slot in slots if wanted.fits(slot)]
    names = ", ".join(slot_name(slot) for slot in slots) or "none yet"
    if not found:
        raise NotThere(f"slots: {names}" + (f"; none of them is {wanted}" if wanted else ""))
    if len(found) > 1:
        raise UsageError(f"which slot? give --kind, or --slot and enough of its name: {names}")
    return found[0]


def chosen_or_first(registry: Registry, config: Configuration, wanted: Wanted) -> Slot:
    """As `chosen`; where the registry has no slot of the kind yet, the one that a trainer of the configured target would fill."""
    slots, kind = registry.slots(), wanted.kind or config.trainer.kind
    known = any(slot.kind == kind for slot in slots) if wanted.kind else bool(slots)
    if known or wanted.name is not None:
        return chosen(slots, wanted)
    from cli.target import loaded_target  # takes torch, and seconds

    return Slot(target=loaded_target(config).fingerprint, kind=kind)
