"""RecyclingSpeculator: drafts from what the target thought likely after each token when it last read it; learns at once.

(Token Recycling, arXiv 2408.08696.) Everything that the target scores teaches, rejected drafts included: they are scored in
any case. In place of the paper's fixed tree, a draft grows best first by the probabilities of the time.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence as SequenceOf

from kernels.gumbel.key import stream
from kernels.native import library
from kernels.recycling import Asked, Desk, Rules
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree, unpacked
from speculator.law import Foresight
from speculator.likeliest import COUNT
from speculator.protocol import Budget, Checkpoint
from speculator.recycled import Recycled
from speculator.recycling_growth import FIRST, LEAST_PROB, OTHERS, SAMPLED, Chances, grow
from speculator.suffix_growth import MIN_SURVIVAL
from speculator.verify import Verdicts

_RULES = Rules(
    count=COUNT,
    least_survival=MIN_SURVIVAL,
    least_prob=LEAST_PROB,
    first=FIRST,
    others=OTHERS,
    sampled=SAMPLED,
)
_PATIENCE = 32
"""Steps in which nobody asks for drafts, after which it learns less."""
_RARELY = 8
"""From then on one step of so many teaches: to learn from all would be the whole cost of what nobody uses."""


class RecyclingSpeculator:
    """One matrix for each tenant; tenants never see each other's. A sequence that nobody may learn from has one of its own
    before its tenant's.

    vocab_size: of the target. max_tenants: beyond it the one idle longest is forgotten. max_tree: most nodes for one sequence.
    """

    name = "recycling"
    version = "latest"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(self, vocab_size: int, *, max_tenants: int = 16, max_tree: int = 16) -> None:
        self._desk = None if library() is None else Desk(_RULES)
        self._vocab_size = vocab_size
        self._max_tenants = max_tenants
        self._max_tree = max_tree
        self._tenants: OrderedDict[str, Recycled] = OrderedDict()
        self._alone: dict[int, Recycled] = {}
        """Of sequences that nobody else may learn from."""
        self._seconds_per_sequence = 0.0
        self._unasked = 0
        """Steps since it was last asked for drafts."""

    def begin(self, sequence: Sequence) -> None:
        """A prompt fills gaps: the target does not score its tokens. (Alone that brings 1 to 10 % more tokens a step.)"""
        if not sequence.learn:
            self._alone[sequence.id] = Recycled(self._vocab_size)
        self._taught_by(sequence).skim(sequence.tokens)

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        if not batch.decoding or not budget.allows(self.name):
            return Drafts.empty([sequence.tokens[-1] for sequence in batch.decoding])
        self._unasked = 0
        started = time.perf_counter()
        num_nodes = min(budget.share(len(batch.decoding)), self._max_tree)
        trees = self._draft(batch.decoding, num_nodes, budget.max_depth)
        taken = (time.perf_counter() - started) / len(trees)
        self._seconds_per_sequence += 0.1 * (taken - self._seconds_per_sequence)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Nothing to draft ahead: a draft takes microseconds."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Every verified node teaches what may follow its token; without the target's scores, what was emitted does."""
        self._unasked += 1
        if self._unasked > _PATIENCE and self._unasked % _RARELY:
            return
        if verdicts.likeliest is None:
            for sequence, said in zip(batch.choosing, verdicts.emitted, strict=True):
                self._taught_by(sequence).follow(sequence.tokens[-len(said) - 1 :])
            return
        tokens, probs = verdicts.likeliest.tokens, verdicts.likeliest.probs
        offsets = drafts.offsets.tolist()
        taught = [self._taught_by(sequence) for sequence in batch.choosing]
        start = 0
        for row, matrix in enumerate(taught, 1):
            if row == len(taught) or taught[row] is not matrix:
                nodes = slice(offsets[start], offsets[row])
                matrix.learn(drafts.tokens[nodes], tokens[nodes], probs[nodes])
                start = row

    def end(self, sequence: Sequence) -> None:
        self._alone.pop(sequence.id, None)

    def load(self, checkpoint: Checkpoint) -> None:
        """There are no weights to load: it learns from what it sees."""

    def cost(self, rows: int) -> float:
        return rows * self._seconds_per_sequence

    def forget(self, tenant: str, before: float = math.inf) -> None:
        """Drops everything learnt from a tenant, unless all of it is newer than `before` (Unix seconds)."""
        matrix = self._tenants.get(tenant)
        if matrix is not None and matrix.since < before:
            del self._tenants[tenant]

    def _taught_by(self, sequence: Sequence) -> Recycled:
        """The matrix that the sequence may write to."""
        return self._tenant(sequence.tenant) if sequence.learn else self._alone[sequence.id]

    def _tenant(self, name: str) -> Recycled:
        matrix = self._tenants.get(name)
        if matrix is None:
            matrix = self._tenants[name] = Recycled(self._vocab_size)
            if len(self._tenants) > self._max_tenants:
                self._tenants.popitem(last=False)
        self._tenants.move_to_end(name)
        return matrix

    def _draft(self, decoding: SequenceOf[Sequence], num_nodes: int, max_depth: int) -> list[Tree]:
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in decoding]
        depths = [min(max_depth, sequence.num_left - 1) * sequence.speculative for sequence in decoding]
        rows = [row for row, depth in enumerate(depths) if depth > 0]
        if self._desk is not None:
            asked = [self._asked(decoding[row], num_nodes, depths[row]) for row in rows]
            for row, tree in zip(rows, unpacked(*self._desk.drafts(asked)), strict=True):
                trees[row] = tree
            return trees
        for row in rows:
            sequence = decoding[row]
            foresight = None if sequence.sampling.greedy else Foresight(sequence.sampling, sequence.num_output)
            grow(trees[row], Chances(self._matrices(sequence), foresight), num_nodes, depths[row])
        return trees

    def _asked(self, sequence: Sequence, num_nodes: int, max_depth: int) -> Asked:
        sampling, matrices = sequence.sampling, [each.addresses for each in self._matrices(sequence)]
        first, second = (*matrices, (0, 0), (0, 0))[:2]
        word = 0 if sampling.greedy else stream(sampling.seed, sampling.choice)
        limits = sequence.tokens[-1], num_nodes, max_depth
        return Asked(*first, *second, *limits, not sampling.greedy, word, sequence.num_output)

    def _matrices(self, sequence: Sequence) -> list[Recycled]:
        """What the sequence may draw on, the first first."""
        matrices = self._alone.get(sequence.id), self._tenants.get(sequence.tenant)
        return [each for each in matrices if each is not None]
