"""Judge: serves held-out answers again under champion and candidate, heads alone, at the deployed budget.

Exact, not estimated: under the point-mass law the steps an answer takes follow from its tokens (see `speculator.simulate`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from models.heads import MedusaHeads
from speculator.medusa import MedusaSpeculator
from speculator.records import sampling_of
from speculator.simulate import Simulated, simulate_heads
from trainer.champion import Champion
from trainer.gate import Score
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.teacher import LessonCache

_T = TypeVar("_T")
Slices = Generator[None, None, _T]
"""Work in slices: yields after each, returns what comes of it."""


class Judge:
    """unembed: states [..., H] -> logits [..., V], the target's own.

    What the champion needs for an answer is worked out once, ahead of the judgement where there is time: then
    only the candidate is left to do.
    """

    def __init__(
        self, lessons: LessonCache, unembed: Callable[[Tensor], Tensor], *, budget: int, device: torch.device, sizing: Sizing
    ) -> None:
        self._lessons = lessons
        self._unembed = unembed
        self._budget = budget
        self._device = device
        self._sizing = sizing
        self._champion: Champion | None = None
        self._known: dict[int, Simulated] = {}

    def prepare(self, traces: Iterable[Kept], champion: Champion) -> Slices[None]:
        """Works out what the champion needs for the first of `traces` for which it is not known."""
        self._meet(champion)
        for trace in traces:
            if trace.number not in self._known:
                yield from self._champion_steps(trace, self._drafter(champion.heads(self._device)))
                return

    def scores(self, traces: Sequence[Kept], champion: Champion, candidate: MedusaHeads) -> Slices[list[Score]]:
        """Both on the same conversations, one score for each."""
        self._meet(champion)
        numbers = {trace.number for trace in traces}
        self._known = {number: steps for number, steps in self._known.items() if number in numbers}
        old, new = self._drafter(champion.heads(self._device)), self._drafter(candidate)
        both: dict[str, Score] = {}
        for trace in traces:
            known = yield from self._champion_steps(trace, old)
            steps = yield from self._steps(trace, new)
            both[trace.conversation] = _joined(both.get(trace.conversation), trace, known, steps)
        return list(both.values())

    def _meet(self, champion: Champion) -> None:
        if champion is not self._champion:
            self._champion, self._known = champion, {}

    def _drafter(self, heads: MedusaHeads) -> MedusaSpeculator:
        return MedusaSpeculator(heads, self._unembed, name="medusa", version="")

    def _champion_steps(self, trace: Kept, drafter: MedusaSpeculator) -> Slices[Simulated]:
        if trace.number not in self._known:
            self._known[trace.number] = yield from self._steps(trace, drafter)
        return self._known[trace.number]

    def _steps(self, trace: Kept, drafter: MedusaSpeculator) -> Slices[Simulated]:
        if not self._lessons.knows(trace):
            yield from self._lessons.read(trace)
            yield
        sampling = sampling_of(trace.trace.sampling)
        states = (yield from self._lessons.read(trace)).padded()
        tokens: list[list[list[int]]] = []
        chances: list[list[list[float]]] = []
        while len(tokens) < len(states):
            rows = states[len(tokens) : len(tokens) + self._sizing.rows]
            with self._sizing.slice(len(rows)):
                choices = [(sampling, len(tokens) + at) for at in range(1, len(rows) + 1)]  # row j chose token j
                more_tokens, more_chances = drafter.candidates(rows.float(), choices)
            tokens += more_tokens
            chances += more_chances
            yield
        return simulate_heads(trace.tokens, len(trace.trace.prompt_ids), tokens, chances, self._budget)


def _joined(so_far: Score | None, trace: Kept, champion: Simulated, candidate: Simulated) -> Score:
    """The score of a conversation with one more of its answers."""
    before = so_far or Score(trace.trace.tenant, trace.domain, 0, 0, 0)
    return Score(
        before.tenant,
        before.domain,
        before.num_tokens + champion.num_tokens,
        before.champion_steps + champion.num_steps,
        before.candidate_steps + candidate.num_steps,
    )
