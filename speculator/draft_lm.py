"""DraftModelSpeculator: a small language model of its own drafts, level by level, before the target verifies."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from models.config import DecoderConfig
from models.draft import check_draft_weights
from models.errors import BadModel, ModelError
from pipelines.errors import ForeignCheckpoint
from speculator.batch import Batch, Sequence
from speculator.belief import beliefs, draw
from speculator.draft_runner import Branch, DraftRunner, PagedReader, Track
from speculator.drafts import Drafts, Law, Tree
from speculator.growth import BranchGrowth, Growth
from speculator.guesses import Choice, guesses
from speculator.known_pages import KnownPages
from speculator.newer import Newer, Unfit
from speculator.protocol import Budget, Checkpoint
from speculator.verify import Verdicts

KIND = "draft-lm"
MOST_READ = 256
"""Tokens of one text that are read in one step: a long prompt must not hold up the others."""
SPARE = 2
"""Children of a node that are drawn without replacement: the second is accepted mostly where the first is not."""
_PROMPT_TAIL = 256
_MOST_SAID = 1024
"""Tokens that wait to be shown to the draft vocabulary; older ones are forgotten."""


def check_fits(checkpoint: Checkpoint, shape: DecoderConfig) -> None:
    """Raises ForeignCheckpoint unless its weights can take the place of a draft model's of that shape, whose pages stay."""
    try:
        theirs = DecoderConfig.from_hf(checkpoint.manifest.config)
        if theirs != shape:
            raise BadModel(f"the draft model's shape is {theirs}; expected {shape}")
        check_draft_weights(checkpoint.weights, shape)
    except ModelError as error:
        raise ForeignCheckpoint(f"version {checkpoint.manifest.version}: {error}") from error


R = TypeVar("R", bound=PagedReader)


class BranchSpeculator(ABC, Generic[R]):
    """A drafter that the target waits for, with pages of its own: it reads what is new of each text, and grows branches behind.

    runner: over pages numbered as the target's, so that a sequence's pages are its pages here too.

    depth: levels of a tree, each a pass of the model. width: nodes read at each level, for one sequence. siblings: candidates for
    the children of a node; with one of each it drafts a chain. law: how drafts for sampled answers are made; where they are
    drawn, a chain, or a chain with `SPARE` children at each of its nodes, of which the likeliest goes on.
    """

    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(
        self,
        runner: R,
        *,
        name: str,
        version: str,
        max_tree: int = 32,
        depth: int = 5,
        width: int = 3,
        siblings: int = 4,
        law: Law = Law.POINT_MASS,
    ) -> None:
        assert width * (depth - 1) <= max_tree, "what is read must fit behind the text"
        self.name = name
        self._newer: Newer[Any] = Newer(name, version)
        self._runner = runner
        self._max_tree = max_tree
        self._depth = depth
        self._width = width
        self._siblings = siblings
        self._law = law
        self._tracks: dict[int, Track] = {}
        self._said: deque[int] = deque(maxlen=_MOST_SAID)
        self._seconds_per_call = 0.0

    @property
    def version(self) -> str:
        return self._newer.version

    def begin(self, sequence: Sequence) -> None:
        self._tracks[sequence.id] = Track(sequence.pages)
        self._said.extend(sequence.tokens[-_PROMPT_TAIL:])

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        """A tree for each decoding sequence; empty while its text is still being read, or with nothing left to draft."""
        started = time.perf_counter()
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        asked = [row for row, sequence in enumerate(batch.decoding) if sequence.speculative and sequence.num_left > 1]
        if asked and budget.allows(self.name):
            self._runner.vocabulary.see(self._said)
            self._said.clear()
            most = budget.share(len(asked)), max(1, budget.nodes // len(asked))
            for row, tree in self.drafted(batch, asked, most, min(self._depth, budget.max_depth)).items():
                trees[row] = tree
            self._seconds_per_call = 0.9 * self._seconds_per_call + 0.1 * (time.perf_counter() - started)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """It drafts before the target works, not beside it."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """What was accepted is read with the next draft, from its own place in the text."""
        for emitted in verdicts.emitted:
            self._said.extend(emitted)

    def end(self, sequence: Sequence) -> None:
        self._tracks.pop(sequence.id, None)

    def load(self, checkpoint: Checkpoint) -> None:
        """Has the weights prepared, to be taken by `take_prepared`.

        Raises ForeignCheckpoint, changing nothing, for weights that do not fit.
        """
        self.check(checkpoint)
        self._newer.give(checkpoint.manifest.version, partial(self._runner.prepared, checkpoint.weights))

    @abstractmethod
    def check(self, checkpoint: Checkpoint) -> None:
        """Raises ForeignCheckpoint for weights that cannot take the place of those in use."""

    @abstractmethod
    def read(self, batch: Batch, asked: SequenceOf[int]) -> tuple[list[int], Tensor]:
        """Reads what is new of each text; the rows that are through, and the states [rows, H] of their newest tokens."""

    @abstractmethod
    def grow(self, branches: SequenceOf[Branch], parents: Tensor) -> Tensor:
        """[N, H] reads the newest token of each branch; parents: [N, H] the states of those that they follow."""

    def drafted(self, batch: Batch, asked: SequenceOf[int], budget: tuple[int, int], depth: int) -> dict[int, Tree]:
        """By row, for those whose text is read to its end. budget: nodes that may be pruned later, and nodes that may not."""
        largest, certain = (min(each, self._max_tree) for each in budget)
        rows, states = self.read(batch, asked)
        if not rows:
            return {}
        growing = {}
        for row in rows:
            sequence = batch.decoding[row]
            width, most = (1, certain) if self._law.draws(sequence.sampling) else (self._width, largest)
            track = self._tracks[sequence.id]
            growing[row] = BranchGrowth(sequence.tokens[-1], track, len(sequence.tokens), width=width, most=most)
        deepening = dict(growing)
        for level in range(depth):
            starts = self._sprout(batch, deepening, states, level)
            deepening = {
                row: growth for row, growth in deepening.items() if level + 1 < min(depth, batch.decoding[row].num_left - 1)
            }
            grown = [(starts[row], branch) for row, growth in deepening.items() for branch in growth.branches()]
            if not grown:
                break
            parents = torch.tensor([start + branch.parent for start, branch in grown], device=states.device)
            states = self.grow([branch for _, branch in grown], states[parents])
        return {row: growth.tree() for row, growth in growing.items()}

    @property
    def settled(self) -> bool:
        """Whether it drafts with the weights that it was given last."""
        return self._newer.settled

    def take_prepared(self) -> Unfit | None:
        """Goes on with newer weights, if they are prepared by now; says so where they cannot be. Between two steps."""
        return self._newer.take(self._runner.take)

    def cost(self, rows: int) -> float:
        return self._seconds_per_call

    def _sprout(self, batch: Batch, growing: Mapping[int, Growth], states: Tensor, level: int) -> dict[int, int]:
        """Gives every node that was read its children; returns where the nodes of each growth begin among the states.

        states: [nodes, H], in the order of the growths and their nodes.
        """
        scores, ids = self._runner.scores(states), self._runner.vocabulary.ids
        at, starts = 0, {}
        guessing: list[tuple[Growth, int, int]] = []
        choices: list[Choice] = []
        for row, growth in growing.items():
            sequence, stop = batch.decoding[row], at + len(growth.reading)
            starts[row] = at
            choice = sequence.sampling, sequence.num_output + level
            if self._law.draws(sequence.sampling):
                siblings = SPARE if self._law is Law.WITHOUT_REPLACEMENT else 1
                believed = beliefs(scores[at:stop], [choice] * (stop - at), ids)
                growth.sprout_drawn(believed, partial(draw, choice=choice), siblings)
            else:
                guessing.append((growth, at, stop))
            choices += [choice] * (stop - at)
            at = stop
        if guessing:
            tokens, chances = guesses(scores, choices, self._siblings, ids)
            for growth, first, stop in guessing:
                growth.sprout(tokens[first:stop], chances[first:stop])
        return starts


class DraftModelSpeculator(BranchSpeculator[DraftRunner]):
    """A language model of its own."""

    def __init__(self, runner: DraftRunner, *, name: str = KIND, version: str, **growth: Any) -> None:
        """growth: see `BranchSpeculator`."""
        super().__init__(runner, name=name, version=version, **growth)
        self._known = KnownPages(runner.page_size)

    def check(self, checkpoint: Checkpoint) -> None:
        check_fits(checkpoint, self._runner.shape)

    def read(self, batch: Batch, asked: SequenceOf[int]) -> tuple[list[int], Tensor]:
        texts: list[tuple[Track, list[int]]] = []
        through: list[tuple[int, int]] = []
        for row in asked:
            sequence = batch.decoding[row]
            track = self._followed(sequence)
            start, stop = track.num_read, min(track.num_read + MOST_READ, len(sequence.tokens))
            if stop == len(sequence.tokens):
                through.append((len(texts), row))
            texts.append((track, sequence.tokens[start:stop]))
            # known to the next in this pass already: every layer writes all keys before it looks at any
            self._known.read(self.version, sequence.pages.ids, sequence.tokens, start, stop)
        states = self._runner.read(texts)
        return [row for _, row in through], states[[at for at, _ in through]]

    def _followed(self, sequence: Sequence) -> Track:
        """Its track, at the first token that is to be read."""
        track, length = self._tracks[sequence.id], len(sequence.tokens)
        if track.pages is not sequence.pages:  # it has come in, or back, and nothing in these pages was read for it
            track.pages, track.num_read = sequence.pages, 0
        if length - track.num_read > self._runner.page_size:
            track.num_read = max(track.num_read, self._known.known(self.version, sequence.pages.ids, sequence.tokens))
        # asked twice in one step, for the score and for the draft, it reads the newest token twice
        track.num_read = min(track.num_read, length - 1)
        return track

    def grow(self, branches: SequenceOf[Branch], parents: Tensor) -> Tensor:
        return self._runner.grow(branches)
