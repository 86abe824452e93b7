"""Drafting again for texts that are already there: what a speculator would have been worth on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from cli.answers import Text
from models.decoder import Decoder
from speculator.batch import Batch, Chunk, Sequence
from speculator.drafts import Drafts, Tree
from speculator.protocol import Budget, Speculator
from speculator.simulate import Simulated, simulate
from speculator.verify import Verdicts


def redrafted(
    speculator: Speculator, decoder: Decoder, texts: Iterable[Text], num_nodes: int
) -> Iterator[tuple[Text, Simulated]]:
    """Serves each text again, one after another: what a speculator learns from one helps it with the next.

    num_nodes: drafted nodes in each step.
    """
    for number, text in zip(itertools.count(1), texts, strict=False):
        if len(text.output_ids) < 2:  # the first token comes with the prompt's pass: no step was taken
            yield text, Simulated()
            continue
        hidden = decoder.hidden_states(torch.tensor(text.tokens[:-1])) if speculator.needs_hidden else None
        again = _Again(speculator, text, number, hidden, num_nodes)
        yield text, simulate(text.tokens, text.num_prompt, again.draft)
        again.end()


class _Again:
    """One text as a speculator sees it pass in the engine: step by step, never the token after the newest."""

    def __init__(self, speculator: Speculator, text: Text, number: int, hidden: Tensor | None, num_nodes: int) -> None:
        self._speculator = speculator
        self._text = text
        self._hidden = hidden
        self._budget = Budget(num_nodes)
        prompt = list(text.tokens[: text.num_prompt])
        sampling = replace(text.sampling, max_tokens=len(text.output_ids))
        self._sequence = Sequence(number, text.tenant, prompt, len(prompt), sampling)
        speculator.begin(self._sequence)
        self._batch = Batch((), (Chunk(self._sequence, len(prompt)),))
        self._drafts = Drafts.empty(prompt[-1:])

    def draft(self, root: int) -> Tree:
        """The tree for the step whose newest token is the text's token `root`."""
        self._move(root + 1)
        self._batch = Batch((self._sequence,))
        self._drafts = self._speculator.propose(self._batch, self._budget)
        return self._drafts.tree(0)

    def end(self) -> None:
        """Shows the speculator the last step and takes the sequence away."""
        self._move(len(self._text.tokens))
        self._speculator.end(self._sequence)

    def _move(self, num_tokens: int) -> None:
        """The step under way emits the text up to `num_tokens`."""
        sequence = self._sequence
        emitted = self._text.tokens[len(sequence.tokens) : num_tokens]
        sequence.tokens.extend(emitted)
        sequence.num_written = num_tokens - 1
        sequence.hidden = None if self._hidden is None else self._hidden[num_tokens - 2]
        path = tuple(_path(self._drafts.tree(0), emitted))
        self._speculator.observe(self._batch, self._drafts, Verdicts((path,), (emitted,)))


def _path(tree: Tree, emitted: Iterable[int]) -> Iterator[int]:
    """The nodes of `tree` that were accepted if `emitted` was."""
    node = 0
    for token in emitted:
        child = tree.child(node, token)
        if child is None:
            return
        yield child
        node = child
