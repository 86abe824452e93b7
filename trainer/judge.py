"""Judge: serves held-out answers again under champion and candidate, heads alone, at the deployed budget.

Exact, not estimated: under the point-mass law the steps an answer takes follow from its tokens (see `speculator.simulate`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from torch import Tensor

from models.heads import MedusaHeads
from speculator.medusa import MedusaSpeculator
from speculator.simulate import Simulated, simulate_heads
from trainer.gate import Score
from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.sizing import Sizing
from trainer.teacher import LessonCache

Scoring = Generator[None, None, list[Score]]
"""Work in slices: yields after each, returns one score for each conversation."""


class Judge:
    """unembed: states [..., H] -> logits [..., V], the target's own. The champion's steps are remembered for as long as its
    version is the champion, so that judging again costs half."""

    def __init__(self, lessons: LessonCache, unembed: Callable[[Tensor], Tensor], *, budget: int, sizing: Sizing) -> None:
        self.budget = budget
        self._lessons = lessons
        self._unembed = unembed
        self._sizing = sizing
        self._version: str | None = None
        self._known: dict[int, Simulated] = {}

    def scores(
        self,
        traces: Sequence[Kept],
        *,
        version: str | None,
        champion: Callable[[], MedusaHeads],
        candidate: MedusaHeads,
    ) -> Scoring:
        """Both on the same conversations. version: the champion's; None: untrained."""
        self._remember(version, traces)
        both: dict[str, Score] = {}
        drafters = self._drafter(champion(), "champion"), self._drafter(candidate, "candidate")
        for trace in traces:
            lesson = yield from self._lessons.read(trace)
            if trace.offset not in self._known:
                self._known[trace.offset] = yield from self._steps(drafters[0], trace, lesson)
            old, new = self._known[trace.offset], (yield from self._steps(drafters[1], trace, lesson))
            both[trace.conversation] = _joined(both.get(trace.conversation), trace, old, new)
        return list(both.values())

    def _remember(self, version: str | None, traces: Sequence[Kept]) -> None:
        if version != self._version:
            self._version, self._known = version, {}
        offsets = {trace.offset for trace in traces}
        self._known = {offset: steps for offset, steps in self._known.items() if offset in offsets}

    def _drafter(self, heads: MedusaHeads, name: str) -> MedusaSpeculator:
        return MedusaSpeculator(heads, self._unembed, name=name, version="")

    def _steps(self, drafter: MedusaSpeculator, trace: Kept, lesson: Lesson) -> Generator[None, None, Simulated]:
        tokens: list[list[list[int]]] = []
        chances: list[list[list[float]]] = []
        states = lesson.padded()
        while len(tokens) < len(states):
            rows = states[len(tokens) : len(tokens) + self._sizing.rows]
            with self._sizing.slice(len(rows)):
                more_tokens, more_chances = drafter.candidates(rows.float())
            tokens += more_tokens
            chances += more_chances
            yield
        return simulate_heads(trace.tokens, len(trace.trace.prompt_ids), tokens, chances, self.budget)


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
