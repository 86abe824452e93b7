"""Drafting again for a text that is already there: what a speculator would have been worth on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace

import torch
from torch import Tensor

from models.decoder import Decoder
from models.pages import PageTable
from speculator.batch import Batch, Chunk, Sampling, Sequence
from speculator.drafts import Drafts, Tree
from speculator.protocol import Budget, Speculator
from speculator.simulate import Simulated, simulate
from speculator.verify import Verdicts

PAGE_SIZE = 32
"""Of pages for one text at a time, which lie from 0 on."""
_BEHIND = 64
"""Slots behind a text: more than branches ever take."""


def pages_alone(num_tokens: int) -> int:
    """Pages that a text of so many tokens holds while it is drafted for again."""
    return -(-(num_tokens + _BEHIND) // PAGE_SIZE)


def redraft(
    speculator: Speculator,
    tokens: SequenceOf[int],
    num_prompt: int,
    sampling: Sampling,
    *,
    num_nodes: int,
    number: int = 1,
    tenant: str = "default",
    hidden: Tensor | None = None,
    layers: Mapping[int, Tensor] | None = None,
) -> Simulated:
    """Serves a text (prompt and answer) again: what a speculator learns from one helps it with the next.

    number: of the text, another one each time. hidden: [len(tokens) - 1, H] the target's states, for who needs them; layers:
    those behind each of its layers that is asked for.
    num_nodes: drafted nodes in each step.
    """
    if len(tokens) - num_prompt < 2:  # the first token comes with the prompt's pass: no step was taken
        return Simulated()
    again = _Again(speculator, tokens, num_prompt, sampling, Budget(num_nodes), number, tenant, hidden, layers or {})
    simulated = simulate(tokens, num_prompt, again.draft)
    again.end()
    return simulated


def states_for(speculator: Speculator, decoder: Decoder, tokens: SequenceOf[int]) -> tuple[Tensor | None, Mapping[int, Tensor]]:
    """`hidden` and `layers` of `redraft`: what the target said of a text, as far as the speculator needs it."""
    if not speculator.needs_hidden and not speculator.needs_layers:
        return None, {}
    return decoder.read(torch.tensor(tokens[:-1]), speculator.needs_layers)


class _Again:
    """One text as a speculator sees it pass in the engine: step by step, never the token after the newest."""

    def __init__(
        self,
        speculator: Speculator,
        tokens: SequenceOf[int],
        num_prompt: int,
        sampling: Sampling,
        budget: Budget,
        number: int,
        tenant: str,
        hidden: Tensor | None,
        layers: Mapping[int, Tensor],
    ) -> None:
        self._speculator = speculator
        self._tokens = tuple(tokens)
        self._hidden = hidden
        self._layers = layers
        self._budget = budget
        prompt = list(tokens[:num_prompt])
        sampling = replace(sampling, max_tokens=len(tokens) - num_prompt)
        pages = PageTable(PAGE_SIZE, range(pages_alone(len(tokens))))
        self._sequence = Sequence(number, tenant, prompt, num_prompt, sampling, pages=pages)
        speculator.begin(self._sequence)
        self._batch = Batch((), (Chunk(self._sequence, num_prompt),))
        self._drafts = Drafts.empty(prompt[-1:])

    def draft(self, root: int) -> Tree:
        """The tree for the step whose newest token is the text's token `root`."""
        self._move(root + 1)
        self._batch = Batch((self._sequence,))
        self._drafts = self._speculator.propose(self._batch, self._budget)
        return self._drafts.tree(0)

    def end(self) -> None:
        """Shows the speculator the last step and takes the sequence away."""
        self._move(len(self._tokens))
        self._speculator.end(self._sequence)

    def _move(self, num_tokens: int) -> None:
        """The step under way emits the text up to `num_tokens`."""
        sequence = self._sequence
        emitted = self._tokens[len(sequence.tokens) : num_tokens]
        sequence.tokens.extend(emitted)
        written, sequence.num_written = sequence.num_written, num_tokens - 1
        sequence.layers = {layer: states[written : num_tokens - 1] for layer, states in self._layers.items()}
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
