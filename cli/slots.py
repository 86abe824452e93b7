"""Slots on the command line: how one is written, and which one is meant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cli.config import Configuration
from cli.errors import NotThere, UsageError
from pipelines.registry import Registry, Slot, open_registry
from pipelines.traffic_log import sqlite_path

KIND = "medusa"
"""The kind of speculator that the trainer trains."""


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


def chosen(slots: Sequence[Slot], wanted: str | None) -> Slot:
    """The slot whose name holds `wanted`; the only one, where nothing is wanted.

    Raises NotThere where there is none, UsageError where there are several.
    """
    found = [slot for slot in slots if wanted is None or wanted in slot_name(slot)]
    names = ", ".join(slot_name(slot) for slot in slots) or "none yet"
    if not found:
        raise NotThere(f"slots: {names}" + (f"; none of them is {wanted}" if wanted else ""))
    if len(found) > 1:
        raise UsageError(f"which slot? give --slot and enough of its name: {names}")
    return found[0]


def chosen_or_first(registry: Registry, config: Configuration, wanted: str | None) -> Slot:
    """As `chosen`; in a registry without slots the one that a trainer of the configured target would fill."""
    slots = registry.slots()
    if slots or wanted is not None:
        return chosen(slots, wanted)
    from cli.target import loaded_target  # takes torch, and seconds

    return Slot(target=loaded_target(config).fingerprint, kind=KIND)
