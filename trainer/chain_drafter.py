"""ChainDrafter: a draft model at work on recorded answers, drafting one chain of tokens for each step.

Under the point-mass law a chain is accepted as far as its tokens are the text's own, and as long as they are, what the draft
model reads next is the text itself. So what it guesses along the text as it stands says how far every chain gets, wherever it
starts: one reading of the text, where drafting again (`speculator.redraft`) takes a pass for each token of each step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.draft import DraftModel
from models.pages import PageTable
from speculator.draft_runner import DraftRunner, Track
from speculator.guesses import guesses
from speculator.records import sampling_of
from speculator.redraft import PAGE_SIZE, pages_alone
from speculator.simulate import Simulated
from trainer.judge import Slices
from trainer.kept import Kept
from trainer.sizing import Sizing

_ROOM = 512
"""Tokens of a text for which there are pages at first; more where a text is longer."""


class ChainDrafter:
    """lookahead: tokens of a chain.

    The whole vocabulary is looked at, where a server's draft sees the part of it that was used lately (`DraftVocabulary`): what a
    version is worth must not depend on the order of the texts.
    """

    def __init__(self, model: DraftModel, *, lookahead: int, sizing: Sizing) -> None:
        self._model = model
        self._lookahead = lookahead
        self._sizing = sizing
        self._room = 0
        self._runner: DraftRunner | None = None

    def steps(self, trace: Kept) -> Slices[Simulated]:
        text, num_prompt = trace.tokens, len(trace.trace.prompt_ids)
        sampling = sampling_of(trace.trace.sampling)
        runner = self._runner_for(len(text))
        track = Track(PageTable(PAGE_SIZE, range(pages_alone(len(text)))))
        guessed: list[int] = []  # for the text from its second output token on
        while track.num_read < len(text) - 1:
            following = text[track.num_read : min(len(text) - 1, track.num_read + self._sizing.rows)]
            num_scored = max(0, min(len(following), track.num_read + len(following) - num_prompt))
            with self._sizing.slice(len(following)), torch.inference_mode():
                states = runner.read([(track, following)], scored=[max(1, num_scored)])
                if num_scored:
                    choices = [(sampling, len(guessed) + at) for at in range(1, num_scored + 1)]
                    tokens, _ = guesses(self._model.logits(states.float()), choices, 1)
                    guessed += [best for [best] in tokens]
            yield
        return simulate_chain(text, num_prompt, guessed, self._lookahead)

    def _runner_for(self, num_tokens: int) -> DraftRunner:
        if self._runner is None or num_tokens > self._room:
            self._room = max(num_tokens, 2 * self._room, _ROOM)
            pages, device = pages_alone(self._room), self._model.device
            self._runner = DraftRunner(
                self._model, page_size=PAGE_SIZE, num_pages=pages, device=device, dtype=torch.float32
            )
        return self._runner


def simulate_chain(text: Sequence[int], num_prompt: int, guessed: Sequence[int], lookahead: int) -> Simulated:
    """Serves a text (prompt and output) again with chains of `lookahead` tokens. guessed: for each token of the output but the
    first, what the draft guesses for its place when it has read all before it. Only tokens and steps are counted."""
    num_steps, root = 0, num_prompt
    while root < len(text) - 1:
        newest = root
        while newest < min(root + lookahead, len(text) - 1) and guessed[newest - num_prompt] == text[newest + 1]:
            newest += 1
        root = newest + 1  # the target's own
        num_steps += 1
    return Simulated(len(text) - 1 - num_prompt, num_steps)
