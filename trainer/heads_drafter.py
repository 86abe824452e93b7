"""HeadsDrafter: heads at work on recorded answers: trees of the deployed budget, from the states that chose the tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from models.heads import DraftHeads
from speculator.batch import Sampling
from speculator.drafts import Tree
from speculator.heads import Root
from speculator.records import sampling_of
from speculator.simulate import Simulated, simulate
from speculator.static_heads import heads_source
from trainer.judge import Slices
from trainer.kept import Kept
from trainer.sizing import Sizing
from trainer.teacher import LessonCache


class HeadsDrafter:
    """unembed: states [..., H] -> logits [..., V], the target's own. budget: nodes of a tree."""

    def __init__(
        self,
        heads: DraftHeads,
        lessons: LessonCache,
        unembed: Callable[[Tensor], Tensor],
        *,
        budget: int,
        sizing: Sizing,
    ) -> None:
        self._drafter = heads_source(heads, unembed, name="judged", version="")
        self._lessons = lessons
        self._budget = budget
        self._sizing = sizing

    def steps(self, trace: Kept) -> Slices[Simulated]:
        if not self._lessons.knows(trace):
            yield from self._lessons.read(trace)
            yield
        sampling = sampling_of(trace.trace.sampling)
        states = (yield from self._lessons.read(trace)).padded()
        trees: list[Tree] = []
        while len(trees) < len(states):
            rows = states[len(trees) : len(trees) + self._sizing.rows]
            with self._sizing.slice(len(rows)):
                roots = [self._root(trace.trace.output_ids, len(trees) + at, sampling) for at in range(len(rows))]
                trees += self._drafter.trees(rows.float(), roots)
            yield
        num_prompt = len(trace.trace.prompt_ids)
        return simulate(trace.tokens, num_prompt, lambda root: trees[root - num_prompt])

    def _root(self, output: Sequence[int], row: int, sampling: Sampling) -> Root:
        """Row j chose output token j; no tree grows from those that fill the states up."""
        if row >= len(output):
            return Root(0, (sampling, row + 1), 0, 0)
        return Root(output[row], (sampling, row + 1), self._budget, self._drafter.num_heads)
