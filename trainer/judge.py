"""Judge: serves held-out answers again under champion and candidate, each of them drafting alone.

Exact, not estimated: under the point-mass law the steps an answer takes follow from its tokens (see `speculator.simulate`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Protocol, TypeVar

from speculator.simulate import Simulated
from trainer.champion import Champion
from trainer.gate import Score
from trainer.kept import Kept

_T = TypeVar("_T")
Slices = Generator[None, None, _T]
"""Work in slices: yields after each, returns what comes of it."""


class Drafter(Protocol):
    """A version at work."""

    def steps(self, trace: Kept) -> Slices[Simulated]:
        """The steps that the trace's answer takes when nobody else drafts."""


class Judge:
    """drafter_of: a champion at work.

    What the champion needs for an answer is worked out once, ahead of the judgement where there is time: then
    only the candidate is left to do.
    """

    def __init__(self, drafter_of: Callable[[Champion], Drafter]) -> None:
        self._drafter_of = drafter_of
        self._champion: Champion | None = None
        self._standing: Drafter | None = None
        self._known: dict[int, Simulated] = {}

    def prepare(self, traces: Iterable[Kept], champion: Champion) -> Slices[None]:
        """Works out what the champion needs for the first of `traces` for which it is not known."""
        standing = self._meet(champion)
        for trace in traces:
            if trace.number not in self._known:
                yield from self._champion_steps(trace, standing)
                return

    def scores(self, traces: Sequence[Kept], champion: Champion, candidate: Drafter) -> Slices[list[Score]]:
        """Both on the same conversations, one score for each."""
        standing = self._meet(champion)
        numbers = {trace.number for trace in traces}
        self._known = {number: steps for number, steps in self._known.items() if number in numbers}
        both: list[tuple[Kept, Simulated, Simulated]] = []
        for trace in traces:
            known = yield from self._champion_steps(trace, standing)
            both.append((trace, known, (yield from candidate.steps(trace))))
        return by_conversation(both)

    def _meet(self, champion: Champion) -> Drafter:
        if champion is not self._champion or self._standing is None:
            self._champion, self._standing, self._known = champion, self._drafter_of(champion), {}
        return self._standing

    def _champion_steps(self, trace: Kept, standing: Drafter) -> Slices[Simulated]:
        if trace.number not in self._known:
            self._known[trace.number] = yield from standing.steps(trace)
        return self._known[trace.number]


def by_conversation(both: Iterable[tuple[Kept, Simulated, Simulated]]) -> list[Score]:
    """One score for each conversation, from its answers under champion and candidate."""
    scores: dict[str, Score] = {}
    for trace, champion, candidate in both:
        before = scores.get(trace.conversation) or Score(trace.trace.tenant, trace.domain, 0, 0, 0)
        scores[trace.conversation] = Score(
            before.tenant,
            before.domain,
            before.num_tokens + champion.num_tokens,
            before.champion_steps + champion.num_steps,
            before.candidate_steps + candidate.num_steps,
        )
    return list(scores.values())
