"""EagleDrafter: an EAGLE layer at work on recorded answers, drafting one chain of tokens for each step.

As long as a chain's tokens are right they are the text itself, so what the layer gives when it is unrolled along the text (step k
at row t: the k-th token behind a root k rows before) says how far the chain behind every root gets: the form that is trained, in
one reading, and exactly what serving drafts (`trainer.chain_drafter` says the same of draft models).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.eagle import EagleLayer
from speculator.guesses import guesses
from speculator.records import sampling_of
from speculator.simulate import Simulated
from trainer.eagle_distil import LayeredExcerpt, Unrolling
from trainer.judge import Slices
from trainer.kept import Kept
from trainer.taught import Taught
from trainer.teacher import LessonCache

_AT_ONCE = 256
"""Rows of an answer unrolled at once: their attention is a matrix of so many rows by all of the text up to them. The keys of what
is before them are worked out anew."""


class EagleDrafter:
    """lookahead: tokens of a chain. The whole vocabulary is looked at: what a version is worth must not depend on the order of
    the texts."""

    def __init__(self, layer: EagleLayer, lessons: LessonCache, taught: Taught, *, lookahead: int) -> None:
        self._layer = layer.eval().requires_grad_(False)
        self._lessons = lessons
        self._taught = taught
        self._lookahead = lookahead

    def steps(self, trace: Kept) -> Slices[Simulated]:
        if not self._lessons.knows(trace):
            yield from self._lessons.read(trace)
            yield
        excerpt = LayeredExcerpt.of(trace, (yield from self._lessons.read(trace)), len(trace.tokens))
        sampling, num_prompt = sampling_of(trace.trace.sampling), len(trace.trace.prompt_ids)
        guessed: list[list[int]] = [[] for _ in range(self._lookahead)]
        # rows of the emitted tokens, the first of which is the first root; what stands behind row j is output token j + 1
        for start in range(num_prompt, len(excerpt.tokens), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(excerpt.tokens))
            unrolled = self._unrolled(excerpt.rows(start, stop))
            choices = [(sampling, row - num_prompt + 1) for row in range(start, stop)]
            for of_step in guessed:
                with torch.no_grad():
                    tokens, _ = guesses(self._taught.unembed(next(unrolled)[0, start - stop :]).float(), choices, 1)
                of_step += [best for [best] in tokens]
                yield
        return simulate_unrolled(trace.tokens, num_prompt, guessed)

    def _unrolled(self, excerpt: LayeredExcerpt) -> Iterator[Tensor]:
        unrolling = Unrolling.of([excerpt], self._lookahead)
        return self._layer.unrolled(
            unrolling.tokens, unrolling.features, self._lookahead, first=unrolling.first, last=unrolling.last
        )


def simulate_unrolled(text: tuple[int, ...], num_prompt: int, guessed: list[list[int]]) -> Simulated:
    """Serves a text (prompt and output) again with chains. guessed: [K][rows] for each step of unrolling and each token of the
    output but the last, what the layer guesses for the token after it. Only tokens and steps are counted."""
    num_steps, root, last = 0, num_prompt, len(text) - 1
    while root < last:
        newest = root
        for guesses_of_step in guessed:
            if newest == last or guesses_of_step[newest - num_prompt] != text[newest + 1]:
                break
            newest += 1
        root = newest + 1  # the target's own
        num_steps += 1
    return Simulated(last - num_prompt, num_steps)
