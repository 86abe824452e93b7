"""Timetable: which domains traffic comes from, and when that changes: `stories+dialogue:300,sql:600,math`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cli.demo.prompts import Prompt
from cli.errors import UsageError

Supplying = Callable[[str, int], Iterator[Prompt]]
"""The prompts of a domain, in the order that a seed says; may end."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Traffic of one kind. seconds: None: until the end."""

    domains: tuple[str, ...]
    seconds: float | None


def parse_timetable(text: str, known: Sequence[str]) -> tuple[Stretch, ...]:
    """Stretches, one after the other; the last may go on for ever. Raises UsageError, naming what makes no sense."""
    parts = text.split(",")
    stretches = []
    for number, part in enumerate(parts, start=1):
        names, colon, length = part.partition(":")
        domains = tuple(name for name in names.split("+") if name)
        unknown = [name for name in domains if name not in known]
        if not domains or unknown:
            raise UsageError(f"timetable: {part!r} names no domain that is there, expected among {', '.join(known)}")
        try:
            seconds = float(length) if colon else None
        except ValueError:
            seconds = -1.0
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError(f"timetable: {part!r} lasts {length!r}, expected seconds, more than 0")
        if seconds is None and number < len(parts):
            raise UsageError(f"timetable: {part!r} has no length, expected domain:seconds for all but the last")
        stretches.append(Stretch(domains, seconds))
    return tuple(stretches)


class Timetable:
    """Hands out prompts of the domains whose time it is. A domain that has no more begins again, in another order."""

    def __init__(self, stretches: Sequence[Stretch], supplying: Supplying, seed: int) -> None:
        self._stretches = tuple(stretches)
        self._supplying = supplying
        self._random = random.Random(seed)
        self._seed = seed
        self._sources: dict[str, Iterator[Prompt]] = {}
        self._rounds: dict[str, int] = {}

    def stretch(self, seconds: float) -> Stretch | None:
        """The one at this time after the start; None: it is over."""
        for each in self._stretches:
            if each.seconds is None or seconds < each.seconds:
                return each
            seconds -= each.seconds
        return None

    def prompt(self, seconds: float) -> Prompt | None:
        """One for a request at this time; None: the timetable is over. Raises UsageError for a domain without prompts."""
        stretch = self.stretch(seconds)
        return None if stretch is None else self._next(self._random.choice(stretch.domains))

    def _next(self, domain: str) -> Prompt:
        for _ in range(2):
            source = self._sources.get(domain)
            found = next(source, None) if source is not None else None
            if found is not None:
                return found
            turn = self._rounds[domain] = self._rounds.get(domain, -1) + 1
            self._sources[domain] = self._supplying(domain, self._seed + turn)
        found = next(self._sources[domain], None)
        if found is None:
            raise UsageError(f"timetable: domain {domain!r} has no prompts")
        return found
