"""The plan: which figures there are, and in which order they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.context import Bench
from bench.figures import (
    ablation,
    acceptance,
    alone,
    arctic,
    concurrency,
    crowd,
    draft_online,
    fixed,
    groups,
    groups_transformers,
    identity,
    long_context,
    sharing,
    shifts,
    ssd,
    swaps,
    traffic_log,
    transformers,
    window,
)
from bench.results import Goal, Measure, Trainer


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of `bench/figures`."""

    goals: tuple[Goal, ...]
    """The first is the one that fails when it cannot be measured."""
    measure: Callable[[Bench, Trainer], Iterator[Measure]]


FIGURES: Mapping[str, Entry] = {
    "identity": Entry(identity.GOALS, identity.measure),
    "transformers": Entry(transformers.GOALS, transformers.measure),
    "sharing": Entry(sharing.GOALS, sharing.measure),
    "acceptance": Entry(acceptance.GOALS, acceptance.measure),
    "window": Entry(window.GOALS, window.measure),
    "alone": Entry(alone.GOALS, alone.measure),
    "crowd": Entry(crowd.GOALS, crowd.measure),
    "swaps": Entry(swaps.GOALS, swaps.measure),
    "log": Entry(traffic_log.GOALS, traffic_log.measure),
    "ssd": Entry(ssd.GOALS, ssd.measure),
    "draft-online": Entry(draft_online.GOALS, draft_online.measure),
    "long-context": Entry(long_context.GOALS, long_context.measure),
    "groups": Entry(groups.GOALS, groups.measure),
    "groups-transformers": Entry(groups_transformers.GOALS, groups_transformers.measure),
    "concurrency": Entry(concurrency.GOALS, concurrency.measure),
    "fixed": Entry(fixed.GOALS, fixed.measure),
    "ablation": Entry(ablation.GOALS, ablation.measure),
    "arctic": Entry(arctic.GOALS, arctic.measure),
    "shifts": Entry(shifts.GOALS, shifts.measure),
}
TASKS = ("groups", "groups-transformers", "concurrency", "fixed", "ablation", "arctic", "shifts")
"""Those on task groups."""
APART = frozenset({"ssd", "draft-online", "long-context", *TASKS})
"""Those that are measured only where they are asked for: `make bench-ssd`, `make bench-draft`, `make bench-long`,
`make bench-groups`. The second by itself: it wants a traffic log in which nothing is yet."""

STAGES: tuple[tuple[Trainer, tuple[str, ...]], ...] = (
    ("off", ("identity", "transformers", "sharing")),
    ("on", ("acceptance", "window", "alone", "crowd", "swaps")),
    ("off", ("alone", "crowd", "swaps", "log", "ssd", "draft-online", "long-context", *TASKS)),
    ("on", ("shifts", "groups", "concurrency")),
)
"""The trainer starts with the adaptation, in the second stage, and ends before the third; one starts in the last, with `shifts`
or with the traffic before `groups`."""


def goals() -> tuple[Goal, ...]:
    """All of them, once each, in the order of the figures."""
    return tuple(dict.fromkeys(goal for entry in FIGURES.values() for goal in entry.goals))
