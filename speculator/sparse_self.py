"""SparseSelfSpeculator: the target drafts for itself, looking at a few of a long text's keys (MagicDec, arXiv 2408.11049).

Where texts are long and many, a pass of the target is mostly the reading of their keys and values; one that reads a sixteenth of
them costs little and seldom thinks otherwise. Its drafts' own keys and values go to the slots behind the text. There the target,
which verifies them with all of the text before it, writes its own, and behind those nobody looks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from models.decoder import Decoder
from models.pages import KeyValuePages
from pipelines.errors import ForeignCheckpoint
from speculator.batch import Batch, Sequence
from speculator.draft_runner import Branch, branch_rows
from speculator.drafts import Drafts, Tree
from speculator.growth import BranchGrowth
from speculator.guesses import guesses
from speculator.protocol import Budget, Checkpoint
from speculator.snapkv import attention_paid, most_attended
from speculator.sparse_view import SparseView
from speculator.verify import Verdicts
from speculator.vocabulary import DraftVocabulary

KIND = "self"
_PROMPT_TAIL, _MOST_SAID = 1024, 4096
"""Tokens that are shown to the draft vocabulary: of a prompt, and as many as wait for that at most."""


class SparseSelfSpeculator:
    """decoder, pages: the target's own.

    count: positions that a view keeps of the text before its window, `sink` of them the first. window: tokens whose attention
    chooses them, which are kept themselves, and so is all that comes after them. every: tokens after which a view is chosen anew,
    if its acceptance does not fall before. fewest: tokens of a text below which it is left alone. depth, width, siblings: as a
    draft model's (`speculator.draft_lm`).
    """

    name = KIND
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(
        self,
        decoder: Decoder,
        pages: KeyValuePages,
        *,
        version: str,
        max_tree: int = 32,
        count: int = 512,
        sink: int = 4,
        window: int = 16,
        every: int = 256,
        fewest: int = 2048,
        depth: int = 4,
        width: int = 1,
        siblings: int = 2,
    ) -> None:
        assert sink <= count <= fewest - window, "a view must be smaller than the text"
        assert 1 + width * (depth - 1) <= max_tree + 1, "what is read must fit behind the text"
        self.version = version
        self.counters = {"self_views": 0.0, "self_view_seconds": 0.0}
        """Views that were chosen, and what that took."""
        self._decoder, self._pages = decoder, pages
        self._max_tree = max_tree
        self._count, self._sink, self._window = count, sink, window
        self._every, self._fewest = every, fewest
        self._depth, self._width, self._siblings = depth, width, siblings
        self._vocabulary = DraftVocabulary(decoder.output_embeddings())
        self._views: dict[int, SparseView] = {}
        self._proposed: dict[int, Tree] = {}
        """By sequence, in this step."""
        self._said: deque[int] = deque(maxlen=_MOST_SAID)
        self._seconds_per_call = 0.0

    def begin(self, sequence: Sequence) -> None:
        self._said.extend(sequence.tokens[-_PROMPT_TAIL:])

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        """A tree for each decoding sequence whose text is long."""
        started = time.perf_counter()
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        asked = [row for row, sequence in enumerate(batch.decoding) if self._pays_for(sequence)]
        if asked and budget.allows(self.name):
            self._vocabulary.see(self._said)
            self._said.clear()
            self._look([batch.decoding[row] for row in asked])
            most = min(budget.share(len(asked)), self._max_tree)
            for row, tree in self._drafted(batch, asked, most, min(self._depth, budget.max_depth)).items():
                trees[row] = self._proposed[batch.decoding[row].id] = tree
            self._seconds_per_call += 0.1 * (time.perf_counter() - started - self._seconds_per_call)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """It is the target, which is busy."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """What was emitted judges the views."""
        for sequence, emitted in zip(batch.choosing, verdicts.emitted, strict=True):
            self._said.extend(emitted)
            tree = self._proposed.pop(sequence.id, None)
            if tree is not None:
                _judge(self._views[sequence.id], tree, emitted)

    def end(self, sequence: Sequence) -> None:
        self._views.pop(sequence.id, None)
        self._proposed.pop(sequence.id, None)

    def load(self, checkpoint: Checkpoint) -> None:
        """Raises ForeignCheckpoint: its weights are the target's."""
        raise ForeignCheckpoint(f"version {checkpoint.manifest.version}: the target's own drafts take no weights")

    def cost(self, rows: int) -> float:
        return self._seconds_per_call

    def _pays_for(self, sequence: Sequence) -> bool:
        return sequence.speculative and sequence.num_left > 1 and sequence.num_written >= self._fewest

    def _look(self, sequences: SequenceOf[Sequence]) -> None:
        """Sees to it that all have a view of their pages. One that is stale is chosen anew in each step, the oldest first: it
        costs as much as several drafts."""
        stale = []
        for sequence in sequences:
            view = self._views.get(sequence.id)
            if view is None:
                self._choose(sequence)
                continue
            view.pages = sequence.pages  # others if it had to give them up
            age = sequence.num_written - self._window - view.since
            if age >= self._every or view.acceptance.fallen:
                stale.append((age, sequence))
        if stale:
            self._choose(max(stale, key=lambda each: each[0])[1])

    def _choose(self, sequence: Sequence) -> None:
        started = time.perf_counter()
        stop = sequence.num_written
        found = sequence.pages.keys(stop)
        slots = found if isinstance(found, slice) else torch.from_numpy(found).to(self._decoder.device)
        paid = attention_paid(self._decoder, self._pages, sequence.tokens[stop - self._window : stop], slots)
        picked = most_attended(paid, count=self._count, sink=self._sink, window=self._window)
        self._views[sequence.id] = SparseView(sequence.pages, picked, stop - self._window)
        self.counters["self_views"] += 1
        self.counters["self_view_seconds"] += time.perf_counter() - started

    def _drafted(self, batch: Batch, asked: SequenceOf[int], most: int, depth: int) -> dict[int, Tree]:
        """By row. most: nodes of a tree."""
        growing, roots = {}, []
        for row in asked:
            sequence = batch.decoding[row]
            view, root = self._views[sequence.id], sequence.tokens[-1]
            growing[row] = BranchGrowth(root, view, len(sequence.tokens), width=self._width, most=most)
            roots.append(Branch(view, sequence.num_written, root, sequence.num_written))
        trees, branches = dict(growing), roots
        for level in range(depth):
            self._sprout(batch, growing, self._read(branches), level)
            growing = {row: each for row, each in growing.items() if level + 1 < min(depth, batch.decoding[row].num_left - 1)}
            branches = [branch for each in growing.values() for branch in each.branches()]
            if not branches:
                break
        return {row: each.tree() for row, each in trees.items()}

    def _read(self, branches: SequenceOf[Branch]) -> Tensor:
        """[N, H] the states of the newest tokens of branches."""
        return self._decoder.states(branch_rows(branches, self._decoder.device), self._pages)

    def _sprout(self, batch: Batch, growing: Mapping[int, BranchGrowth], states: Tensor, level: int) -> None:
        """Gives every node that was read its children. states: [nodes, H], in the order of the growths and their nodes."""
        choices = []
        for row, growth in growing.items():
            sequence = batch.decoding[row]
            choices += [(sequence.sampling, sequence.num_output + level)] * len(growth.reading)
        tokens, chances = guesses(self._vocabulary.scores(states), choices, self._siblings, self._vocabulary.ids)
        at = 0
        for growth in growing.values():
            stop = at + len(growth.reading)
            growth.sprout(tokens[at:stop], chances[at:stop])
            at = stop


def _judge(view: SparseView, tree: Tree, emitted: SequenceOf[int]) -> None:
    """The likeliest child of each node of the text that was emitted was right, or not."""
    node: int | None = 0
    for token in emitted:
        children = tree.children(node) if node is not None else []
        if not children:
            return
        view.acceptance.saw(tree.tokens[children[0]] == token)
        node = tree.child(node or 0, token)
