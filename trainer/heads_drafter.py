"""HeadsDrafter: heads at work on recorded answers: trees of the deployed budget, from the states that chose the tokens."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from models.heads import MedusaHeads
from speculator.medusa import MedusaSpeculator
from speculator.records import sampling_of
from speculator.simulate import Simulated, simulate_heads
from trainer.judge import Slices
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.teacher import LessonCache


class HeadsDrafter:
    """unembed: states [..., H] -> logits [..., V], the target's own. budget: nodes of a tree."""

    def __init__(
        self,
        heads: MedusaHeads,
        lessons: LessonCache,
        unembed: Callable[[Tensor], Tensor],
        *,
        budget: int,
        sizing: Sizing,
    ) -> None:
        self._drafter = MedusaSpeculator(heads, unembed, name="medusa", version="")
        self._lessons = lessons
        self._budget = budget
        self._sizing = sizing

    def steps(self, trace: Kept) -> Slices[Simulated]:
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
                more_tokens, more_chances = self._drafter.candidates(rows.float(), choices)
            tokens += more_tokens
            chances += more_chances
            yield
        return simulate_heads(trace.tokens, len(trace.trace.prompt_ids), tokens, chances, self._budget)
