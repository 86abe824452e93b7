"""RestSpeculator: drafts what followed in a datastore of texts that somebody built beforehand (`everdraft datastore build`).

(REST, arXiv 2311.08252.) The longest suffix of the text that occurs in the store is looked up, and what followed it there
grows into a draft, best first. A newer store in the folder is loaded beside the one in use, and taken up between two steps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from speculator.batch import Batch, Sequence
from speculator.datastore import BadDatastore, Datastore, newest_version, open_datastore
from speculator.drafts import Drafts, Tree
from speculator.law import Foresight
from speculator.preparing import Preparing
from speculator.protocol import Budget, Checkpoint
from speculator.rest_hits import Hits
from speculator.suffix_array import MAX_MATCH, SuffixArray
from speculator.suffix_growth import Place, grow, unseen_weights
from speculator.verify import Verdicts

log = logging.getLogger(__name__)

UNSEEN_IN_STORE = unseen_weights(3.0)
"""With a store of the bundled target's own answers to other questions of the kind, 1 to 4 % more tokens a step than with 6."""
_SHORT = 1
"""Tokens of a match that is looked up beside the longest, for its evidence: 2 to 5 % more tokens a step."""
POLL_SECONDS = 2.0
"""Between two looks into the folder."""


class RestSpeculator:
    """root: folder of the datastore's versions, which may be empty still. tokenizer: fingerprint of the target's. max_tree: most
    nodes for one sequence."""

    name = "rest"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(
        self, root: Path, tokenizer: str, *, max_tree: int = 16, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._tokenizer = tokenizer
        self._max_tree = max_tree
        self._clock = clock
        self._store = Datastore("", {})
        self._looked_at: str | None = None
        """The newest version when the folder was last looked into, sound or not."""
        self._next_look = clock() + POLL_SECONDS
        self._newer: Preparing[Datastore | None] = Preparing("a newer datastore")
        self._seconds_per_sequence = 0.0
        self._take(self._look())

    @property
    def version(self) -> str:
        """Empty: there is no store yet."""
        return self._store.version

    @property
    def gauges(self) -> dict[str, float]:
        """For metrics."""
        return {"rest_tokens": float(len(self._store))}

    def begin(self, sequence: Sequence) -> None:
        """Nothing is kept of it."""

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        if not batch.decoding or not budget.allows(self.name):
            return Drafts.empty([sequence.tokens[-1] for sequence in batch.decoding])
        started = time.perf_counter()
        num_nodes = min(budget.share(len(batch.decoding)), self._max_tree)
        trees = [self._draft(sequence, num_nodes, budget.max_depth) for sequence in batch.decoding]
        taken = (time.perf_counter() - started) / len(trees)
        self._seconds_per_sequence += 0.1 * (taken - self._seconds_per_sequence)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Nothing to draft ahead: a draft takes microseconds."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """The store learns when it is built again; this is where a newer one is taken up."""
        self._take(self._newer.taken())
        if not self._newer.busy and self._clock() >= self._next_look:
            self._next_look = self._clock() + POLL_SECONDS
            self._newer.want(self._look)

    def end(self, sequence: Sequence) -> None:
        """Nothing was kept of it."""

    def load(self, checkpoint: Checkpoint) -> None:
        """There are no weights to load."""

    def cost(self, rows: int) -> float:
        return rows * self._seconds_per_sequence

    def _look(self) -> Datastore | None:
        """The newest version, opened; None where that is the one seen last. Says once why one cannot be used."""
        newest = newest_version(self._root)
        if newest is None or newest == self._looked_at:
            return None
        self._looked_at = newest
        try:
            return open_datastore(self._root, newest, self._tokenizer)
        except BadDatastore as error:
            log.warning("datastore refused, the one before stays in use: %s", error)
            return None

    def _take(self, store: Datastore | None) -> None:
        if store is not None:
            self._store = store
            log.info("datastore %s: %d tokens", store.version, len(store))

    def _draft(self, sequence: Sequence, num_nodes: int, max_depth: int) -> Tree:
        tree = Tree.rooted(sequence.tokens[-1])
        depth = min(max_depth, sequence.num_left - 1)
        if depth > 0 and sequence.speculative:
            context = sequence.tokens[-MAX_MATCH:]
            places = [place for array in self._store.bearing_on(sequence.tenant) for place in _places(array, context)]
            foresight = None if sequence.sampling.greedy else Foresight(sequence.sampling, sequence.num_output)
            grow(tree, places, num_nodes, depth, foresight)
        return tree


def _places(array: SuffixArray, context: list[int]) -> Iterator[Place]:
    start, stop, length = array.longest_suffix(context)
    if length:
        yield Hits(array, start, stop, length), 0, length, UNSEEN_IN_STORE
    if length > _SHORT:
        start, stop = array.interval(context[-_SHORT:])
        yield Hits(array, start, stop, _SHORT), 0, _SHORT, UNSEEN_IN_STORE
