"""`everdraft promote`, `canary`, `rollback`, `pause`, `resume` and `speculation`: what is done to a slot by hand."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable

from cli.config import Configuration
from cli.errors import NotThere, UsageError
from cli.show import as_json
from cli.slots import Wanted, chosen, opened, slot_name
from pipelines.operations import Operations
from pipelines.registry import Registry, ShareOf, Slot, SlotState, Switch


def promote(config: Configuration, version: str, *, slot: Wanted, expected: int | None, reason: str, as_data: bool) -> None:
    """Makes a version champion. Raises NotThere, UsageError, RegistryError."""

    def deed(do: Operations, registry: Registry, which: Slot) -> SlotState:
        return do.promote(which, known_version(registry, which, version), reason, expected_generation=expected)

    _done(config, slot, as_data, deed, lambda before, after: f"{after.champion} is champion (generation {after.generation})")


def canary(
    config: Configuration,
    version: str,
    *,
    share: float,
    share_of: ShareOf,
    slot: Wanted,
    expected: int | None,
    reason: str,
    as_data: bool,
) -> None:
    """Lets a version serve a share. Raises NotThere, UsageError, RegistryError."""

    def deed(do: Operations, registry: Registry, which: Slot) -> SlotState:
        named = known_version(registry, which, version)
        return do.canary(which, named, share, share_of, reason, expected_generation=expected)

    def story(before: SlotState, after: SlotState) -> str:
        return f"{after.candidate} serves {after.share:g} of the {after.share_of} (generation {after.generation})"

    _done(config, slot, as_data, deed, story)


def rollback(
    config: Configuration, version: str | None, *, slot: Wanted, expected: int | None, reason: str, as_data: bool
) -> None:
    """Takes the champion, or the candidate if that is named, out of service. Raises NotThere, UsageError, RegistryError."""
    thrown_out: list[str] = []

    def deed(do: Operations, registry: Registry, which: Slot) -> SlotState:
        named, sound = version and known_version(registry, which, version), registry.quarantined(which)
        after = do.rollback(which, reason, version=named, expected_generation=expected)
        thrown_out.extend(sorted(registry.quarantined(which) - sound))
        return after

    def story(before: SlotState, after: SlotState) -> str:
        gone = before.candidate if after.champion == before.champion else before.champion
        verb = "is" if after.champion == before.champion else "is again"
        return (
            f"{gone} is out of service, {after.champion} {verb} champion (generation {after.generation})\n"
            f"quarantined: {', '.join(thrown_out)}\n"
            "Servers take it up at their next poll; the trainer starts again from the champion."
        )

    _done(config, slot, as_data, deed, story)


def switch(config: Configuration, which: Switch, on: bool, *, slot: Wanted, reason: str, as_data: bool) -> None:
    """Pauses or resumes training; switches speculation off or on. Raises NotThere, UsageError."""
    words = {
        ("training", False): "training is paused",
        ("training", True): "training goes on",
        ("speculation", False): "speculation is off: every replica decodes plainly",
        ("speculation", True): "speculation is on",
    }[which, on]
    _done(config, slot, as_data, lambda do, registry, each: do.switch(each, which, on, reason), lambda before, after: words)


def by_hand(registry: Registry) -> Operations:
    """In the name of whoever sits at the command line."""
    return Operations(registry, f"{getpass.getuser()}@{socket.gethostname()}")


def known_version(registry: Registry, slot: Slot, start: str) -> str:
    """The version of the slot whose name starts so. Raises NotThere where there is none, UsageError for several."""
    names = [manifest.version for manifest in registry.versions(slot)]
    found = [name for name in names if name == start] or [name for name in names if name.startswith(start)]
    if not found:
        raise NotThere(f"version is {start!r}, expected one of {', '.join(names) or 'those of the slot (there is none)'}")
    if len(found) > 1:
        raise UsageError(f"version is {start!r}, expected enough of its name: {', '.join(found)}")
    return found[0]


def _done(
    config: Configuration,
    slot: Wanted,
    as_data: bool,
    deed: Callable[[Operations, Registry, Slot], SlotState],
    story: Callable[[SlotState, SlotState], str],
) -> None:
    with opened(config) as registry:
        which = chosen(registry.slots(), slot)
        before = registry.state(which)
        after = deed(by_hand(registry), registry, which)
    print(as_json(after) if as_data else f"{slot_name(which)}: {story(before, after)}")
