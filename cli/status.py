"""`everdraft status`: what is in service, who runs, what was learnt from, what was asked for."""

from __future__ import annotations

import time
from contextlib import closing
from textwrap import fill

import msgspec

from cli.config import Configuration
from cli.show import ago, as_json, number, table
from cli.slots import opened, slot_name
from pipelines.registry import OPEN_STATES, Event, Presence, Registry, Run, Slot, SlotState, newest_events
from pipelines.traffic_log import Position, open_reader

NUM_EVENTS = 5
_WIDTH = 110
"""Of the lines with figures, in characters."""


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One slot."""

    slot: str
    state: SlotState
    num_versions: int
    num_quarantined: int
    trained_to: Position
    """Offset in the traffic log that the champion has learnt from; 0: none."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the verb shows."""

    at: float
    slots: list[SlotStatus]
    presences: list[Presence]
    open_runs: list[Run]
    events: list[Event]
    """The newest, oldest of them first."""
    traffic_end: Position | None
    """Offset of the newest trace; None: no log is kept."""


def status(config: Configuration, *, as_data: bool) -> None:
    """Prints the status. Raises NotThere without a registry, PipelineError where one cannot be read."""
    with opened(config) as registry:
        found = _collect(registry, config.traffic_url, time.time())
    print(as_json(found) if as_data else _text(found))


def _collect(registry: Registry, traffic_url: str | None, now: float) -> Status:
    return Status(
        at=now,
        slots=[_slot_status(registry, each) for each in registry.slots()],
        presences=registry.presences(now),
        open_runs=[run for run in registry.runs() if run.state in OPEN_STATES],
        events=newest_events(registry, NUM_EVENTS),
        traffic_end=_traffic_end(traffic_url),
    )


def _slot_status(registry: Registry, slot: Slot) -> SlotStatus:
    state, versions = registry.state(slot), registry.versions(slot)
    learnt = {manifest.version: manifest.span.position for manifest in versions}
    return SlotStatus(
        slot=slot_name(slot),
        state=state,
        num_versions=len(versions),
        num_quarantined=len(registry.quarantined(slot)),
        trained_to=learnt.get(state.champion or "", {}),
    )


def _traffic_end(url: str | None) -> Position | None:
    if url is None:
        return None
    with closing(open_reader(url)) as reader:
        return reader.end()


def _text(found: Status) -> str:
    end = found.traffic_end
    log = "no traffic log is kept" if end is None else f"the traffic log ends at offset {_offsets(end)}"
    return "\n\n".join((_slots(found.slots), _presences(found), log, _runs(found), _events(found)))


def _offsets(position: Position) -> str:
    """Of the only partition, or of each."""
    if set(position) <= {0}:
        return str(position.get(0, 0))
    return " ".join(f"{partition}:{offset}" for partition, offset in sorted(position.items()))


def _slots(slots: list[SlotStatus]) -> str:
    if not slots:
        return "no version was published yet"
    head = ("slot", "champion", "generation", "previous", "versions", "quarantined", "learnt up to offset")
    return "\n".join((table(head, [_slot_row(each) for each in slots]), *(line for each in slots for line in _notes(each))))


def _notes(each: SlotStatus) -> list[str]:
    """What is not as usual."""
    state, notes = each.state, []
    if state.candidate is not None:
        what = f"serves {state.share:g} of the {state.share_of}" if state.share else "waits to be promoted"
        notes.append(f"{each.slot}: candidate {state.candidate} {what}")
    if not state.training:
        notes.append(f"{each.slot}: training is paused")
    if not state.speculation:
        notes.append(f"{each.slot}: speculation is off")
    return notes


def _slot_row(each: SlotStatus) -> tuple[str, ...]:
    state = each.state
    counts = (str(each.num_versions), str(each.num_quarantined), _offsets(each.trained_to))
    return (each.slot, state.champion or "-", str(state.generation), state.previous or "-", *counts)


def _presences(found: Status) -> str:
    if not found.presences:
        return "nobody runs: no server or trainer has reported lately"
    head = ("process", "seen", "version", "generation", "state")
    lines = table(head, [_presence_row(each, found.at) for each in found.presences]).splitlines()
    figures = [_figures(each) for each in found.presences]
    return "\n".join((lines[0], *(line for pair in zip(lines[1:], figures, strict=True) for line in pair if line)))


def _presence_row(each: Presence, now: float) -> tuple[str, ...]:
    return (each.name, ago(each.at, now), each.version or "-", str(each.generation), each.state or "-")


def _figures(each: Presence) -> str:
    words = "  ".join(f"{name}={number(value)}" for name, value in sorted(each.figures.items()))
    return fill(words, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False)


def _runs(found: Status) -> str:
    if not found.open_runs:
        return "no retraining was asked for"
    rows = [
        (run.run_id, run.state, slot_name(run.slot), ago(run.created_at, found.at), run.reason, run.detail)
        for run in found.open_runs
    ]
    return table(("run", "state", "slot", "asked for", "reason", "detail"), rows)


def _events(found: Status) -> str:
    if not found.events:
        return "no events yet"
    rows = [
        (ago(event.at, found.at), event.action, event.version or "-", slot_name(event.slot), event.detail)
        for event in found.events
    ]
    return table(("lately", "event", "version", "slot", "detail"), rows)
