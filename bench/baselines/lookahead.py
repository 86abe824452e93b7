"""Lookahead decoding: Jacobi iteration in a window of guesses beside the text finds n-grams, which are drafted when their first
token comes. (Fu et al., arXiv 2402.02057.)

The window has N - 1 levels of W columns: column j of level i is a guess at the token i + j + 1 behind the newest, made i steps
after the guess that it follows. Its mask is that of a tree: level 0 is a chain below the newest token, and the further levels
of a column are a branch below its token of level 0. So window and n-grams are one draft of ours, of W (N - 1) and at most
G (N - 1) nodes, and what the target says at the ends of the branches is the window's next level.
"""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict

from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.protocol import Budget, Checkpoint
from speculator.verify import Verdicts

LEVEL, WINDOW, GUESSES = 5, 7, 7
"""N, W and G, as Spec-Bench has them."""
NODES = (WINDOW + GUESSES) * (LEVEL - 1)
"""Most drafted nodes of a sequence. It takes all of them or it is not lookahead decoding."""
_CONFIDENCE = 0.5
"""The same for each token: nothing is known of it."""


class LookaheadSpeculator:
    """A window and a pool of n-grams for each running text. Raises ValueError where the target's scores are not at hand."""

    name = "lookahead"
    version = f"{LEVEL}-{WINDOW}-{GUESSES}"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._texts: dict[int, _Text] = {}

    def begin(self, sequence: Sequence) -> None:
        self._texts[sequence.id] = _Text(sequence.tokens, random.Random(sequence.id))

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        if budget.allows(self.name) and budget.share(len(trees)) >= NODES:
            for tree, sequence in zip(trees, batch.decoding, strict=True):
                depth = min(budget.max_depth, sequence.num_left - 1)
                for path in self._texts[sequence.id].paths(sequence.tokens[-1]):
                    _add(tree, path[: max(0, depth)])
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Nothing to draft ahead."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """The window moves on by what the target said at the ends of its branches."""
        if verdicts.likeliest is None:
            raise ValueError("verdicts have no scores, expected the target's at every node")
        offsets = drafts.offsets.tolist()
        for row, sequence in enumerate(batch.decoding):
            said = verdicts.likeliest.tokens[offsets[row] : offsets[row + 1], 0].tolist()
            self._texts[sequence.id].move(drafts.tree(row), said)

    def end(self, sequence: Sequence) -> None:
        self._texts.pop(sequence.id, None)

    def load(self, checkpoint: Checkpoint) -> None:
        """There are no weights to load."""

    def cost(self, rows: int) -> float:
        return 0.0


class _Text:
    def __init__(self, prompt: list[int], rng: random.Random) -> None:
        self._levels = [rng.choices(prompt, k=WINDOW)]
        """Guesses, oldest first; the window is filled level by level, as in the authors' code."""
        self._pool: defaultdict[int, OrderedDict[tuple[int, ...], None]] = defaultdict(OrderedDict)
        """By its first token, what else an n-gram has; the newest last."""

    def paths(self, newest: int) -> list[list[int]]:
        """Everything to be verified, as paths below the newest token: the n-grams that it begins, then the window."""
        return [*map(list, reversed(self._pool[newest])), *(self._branch(column) for column in range(WINDOW))]

    def move(self, tree: Tree, said: list[int]) -> None:
        """said: the target's likeliest token at every node of the tree. A branch that was not verified keeps its last guess."""
        ends = [_find(tree, self._branch(column)) for column in range(WINDOW)]
        new = [self._levels[-1][column] if end is None else said[end] for column, end in enumerate(ends)]
        if len(self._levels) < LEVEL - 1:
            self._levels.append(new)
            return
        for column, last in enumerate(new):
            if ends[column] is not None:
                first, *rest = (level[column] for level in self._levels)
                self._keep(first, (*rest, last))
        self._levels = [*self._levels[1:], new]

    def _branch(self, column: int) -> list[int]:
        return [*self._levels[0][: column + 1], *(level[column] for level in self._levels[1:])]

    def _keep(self, first: int, rest: tuple[int, ...]) -> None:
        grams = self._pool[first]
        grams[rest] = None
        grams.move_to_end(rest)
        if len(grams) > GUESSES:
            grams.popitem(last=False)


def _add(tree: Tree, path: list[int]) -> None:
    node = 0
    for token in path:
        child = tree.child(node, token)
        node = tree.add(node, token, _CONFIDENCE, 1) if child is None else child


def _find(tree: Tree, path: list[int]) -> int | None:
    """The node at the end of a path; None if it is not all there."""
    node: int | None = 0
    for token in path:
        node = tree.child(node, token) if node is not None else None
    return node
