"""Prompt lookup: what followed the newest tokens earlier in the same text, copied.

(github.com/apoorvumang/prompt-lookup-decoding) Spec-Bench's settings: the last three tokens are looked for, then two, then
one; ten are copied. The newest occurrence is taken, where Spec-Bench takes the oldest: the newest is mostly the better guess.
"""

from __future__ import annotations

from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.protocol import Budget, Checkpoint
from speculator.verify import Verdicts

_LONGEST = 3
"""Tokens that are looked for."""
_COPIED = 10
_CONFIDENCE = 0.8
"""The same for each token: nothing is known of it."""


class PromptLookupSpeculator:
    """Keeps where each stretch of up to three tokens of a running text ended last."""

    name = "prompt-lookup"
    version = "3-grams"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._texts: dict[int, _Text] = {}

    def begin(self, sequence: Sequence) -> None:
        self._texts[sequence.id] = _Text()

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        if budget.allows(self.name):
            most = min(budget.share(len(trees)), budget.max_depth, _COPIED)
            for tree, sequence in zip(trees, batch.decoding, strict=True):
                copied = self._texts[sequence.id].continuation(sequence.tokens)
                for node, token in enumerate(copied[: max(0, min(most, sequence.num_left - 1))]):
                    tree.add(node, token, _CONFIDENCE, 1)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Nothing to draft ahead."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """The text is read when it is next drafted for."""

    def end(self, sequence: Sequence) -> None:
        self._texts.pop(sequence.id, None)

    def load(self, checkpoint: Checkpoint) -> None:
        """There are no weights to load."""

    def cost(self, rows: int) -> float:
        return 0.0


class _Text:
    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._num_read = 1

    def continuation(self, tokens: list[int]) -> list[int]:
        """What followed the longest of the last stretches that stood in the text before; reads what is new of it."""
        for end in range(self._num_read, len(tokens)):
            for length in range(1, min(_LONGEST, end) + 1):
                self._ends[tuple(tokens[end - length : end])] = end
        self._num_read = len(tokens)
        for length in range(_LONGEST, 0, -1):
            found = self._ends.get(tuple(tokens[-length:]))
            if found is not None:
                return tokens[found : found + _COPIED]
        return []
