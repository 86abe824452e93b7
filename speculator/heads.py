"""HeadsSpeculator: what heads of every kind do as a source of drafts, but growing the trees.

(The unembedding is the target's own and frozen, so a version is only the heads' own weights.)
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from models.errors import BadModel
from models.heads import DraftHeads
from pipelines.errors import ForeignCheckpoint
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.guesses import Choice, guesses
from speculator.newer import Newer, Unfit
from speculator.protocol import Budget, Checkpoint
from speculator.verify import Verdicts
from speculator.vocabulary import DraftVocabulary

H = TypeVar("H", bound=DraftHeads)
Unembed = Callable[[Tensor], Tensor]
"""States [..., H] -> logits [..., V]."""
_PROMPT_TAIL = 256
"""Prompt tokens that are shown to the draft vocabulary, at the end."""
_MOST_SAID = 1024
"""Tokens that wait to be shown to it while nobody asks for drafts; older ones are forgotten."""
NUM_CANDIDATES = 8
"""Candidates for the children of a node: as many siblings as a tree of some sixteen nodes has room for."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where a tree is to grow."""

    token: int
    choice: Choice
    """How the target will choose the token after it."""
    most: int
    """Drafted nodes."""
    max_depth: int
    fewest_hopes: float = 0.0
    """The sum of the chances of a level's nodes, below which reading them is not worth a pass."""


class HeadsSpeculator(ABC, Generic[H]):
    """Drafts from heads on `Sequence.hidden`, with their weights packed.

    name: the kind, for the heads that learn, or another of `speculator.kinds`. unembed: the target's; with a draft `vocabulary`
    only its tokens are scored, and drafted.
    """

    KIND: ClassVar[str]
    needs_hidden = True
    needs_layers: tuple[int, ...] = ()

    def __init__(
        self,
        heads: H,
        unembed: Unembed,
        *,
        name: str,
        version: str,
        max_tree: int = 32,
        vocabulary: DraftVocabulary | None = None,
    ) -> None:
        self.name = name
        self.num_heads = heads.num_heads
        self._heads = heads.eval().requires_grad_(False)
        """Of whose shape all weights are."""
        self._packed = self.packed(dict(heads.named_parameters()))
        self._newer: Newer[Any] = Newer(name, version)
        self._unembed = unembed if vocabulary is None else vocabulary.scores
        self._vocabulary = vocabulary
        self._said: deque[int] = deque(maxlen=_MOST_SAID)
        """Tokens that the draft vocabulary has not seen yet."""
        self._max_tree = max_tree
        self._seconds_per_call = 0.0

    @property
    def version(self) -> str:
        return self._newer.version

    @abstractmethod
    def packed(self, weights: Mapping[str, Tensor]) -> Any:
        """Weights of its shape, by name, in the form that `trees` uses: any thread's work."""

    def begin(self, sequence: Sequence) -> None:
        """What the prompt says may well be said again."""
        self._said.extend(sequence.tokens[-_PROMPT_TAIL:])

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        """A tree for each decoding sequence, grown best first; empty without a hidden state or with nothing left to draft."""
        started = time.perf_counter()
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        asked = [
            index
            for index, sequence in enumerate(batch.decoding)
            if sequence.speculative and sequence.hidden is not None and sequence.num_left > 1
        ]
        if asked and budget.allows(self.name):
            if self._vocabulary is not None:
                self._vocabulary.see(self._said)
                self._said.clear()
            most = min(budget.share(len(asked)), self._max_tree)
            hidden = [batch.decoding[index].hidden for index in asked]
            hopes = self.fewest_hopes(budget)
            roots = [_root(batch.decoding[index], most, budget.max_depth, hopes) for index in asked]
            grown = self.trees(torch.stack([state for state in hidden if state is not None]), roots)
            for index, tree in zip(asked, grown, strict=True):
                trees[index] = tree
            self._seconds_per_call = 0.9 * self._seconds_per_call + 0.1 * (time.perf_counter() - started)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    @abstractmethod
    def trees(self, hidden: Tensor, roots: SequenceOf[Root]) -> list[Tree]:
        """A tree for each of the roots, from the target's states [B, H] that chose them."""

    def fewest_hopes(self, budget: Budget) -> float:
        """See `Root`; 0 where there is one pass for all levels."""
        return 0.0

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Heads cannot draft ahead of the hidden state they need."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Heads learn in the trainer; the draft vocabulary when it is next needed."""
        for emitted in verdicts.emitted:
            self._said.extend(emitted)

    def end(self, sequence: Sequence) -> None:
        """Nothing was kept of it."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Has the weights packed, to be taken by `take_prepared`. Raises ForeignCheckpoint, changing nothing, where they do not
        fit."""
        manifest, heads = checkpoint.manifest, self._heads
        try:
            if manifest.kind != self.KIND:
                raise BadModel(f"kind is {manifest.kind!r}, expected {self.KIND!r}")
            heads.check_fits(checkpoint.weights)
        except BadModel as error:
            raise ForeignCheckpoint(f"version {manifest.version}: {error}") from error
        self._newer.give(manifest.version, lambda: self.packed(heads.sound(checkpoint.weights)))

    @property
    def settled(self) -> bool:
        """Whether it drafts with the weights that it was given last."""
        return self._newer.settled

    def take_prepared(self) -> Unfit | None:
        """Goes on with newer weights, if they are packed by now; says so where they cannot be. Between two steps."""
        return self._newer.take(self._take)

    def _take(self, packed: Any) -> None:
        self._packed = packed

    def cost(self, rows: int) -> float:
        return self._seconds_per_call

    def guessed(self, states: Tensor, choices: SequenceOf[Choice]) -> tuple[list[list[int]], list[list[float]]]:
        """Tokens and chances [N][C] of the best candidates at states [N, H].

        choices: [N] how, and at which output position, the target will choose. Its noise is known, so a candidate is what the
        noise would make of the heads' scores (see `kernels.candidates`): at temperature 0.8 this finds up to twice as many of the
        target's choices as the likeliest tokens do.
        """
        ids = None if self._vocabulary is None else self._vocabulary.ids
        return guesses(self._unembed(states), choices, NUM_CANDIDATES, ids)


def _root(sequence: Sequence, most: int, max_depth: int, fewest_hopes: float) -> Root:
    depth = min(max_depth, sequence.num_left - 1)
    return Root(sequence.tokens[-1], (sequence.sampling, sequence.num_output), most, depth, fewest_hopes)
