"""Suffix decoding as `arctic-inference` has it, the code that vLLM calls. (SuffixDecoding, arXiv 2411.04975.)

Not one of our dependencies: `pip install --no-deps --no-build-isolation arctic-inference`, with nanobind, grpcio-tools and a C++
compiler there, builds it without vLLM and without another torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from bench.errors import NotInstalled
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts, Tree
from speculator.protocol import Budget, Checkpoint
from speculator.verify import Verdicts

_DEPTH, _REQUESTS = 24, 10_000
"""vLLM's defaults: of the trees, and answers that are remembered."""


_GENEROUS = 4.0
"""Tokens drafted for each that was matched, at most. By default it is one, which drafts a third of the nodes that ours does."""


class ArcticSpeculator:
    """trees: drafts are trees, and generous; else they are paths, as vLLM has them by default. Raises NotInstalled."""

    version = "counts"
    needs_hidden = False
    needs_layers: tuple[int, ...] = ()

    def __init__(self, *, trees: bool) -> None:
        try:
            module = importlib.import_module("arctic_inference.suffix_decoding")
        except ImportError as error:
            raise NotInstalled(f"arctic-inference is not installed ({error})") from None
        self.name = f"arctic-{'trees' if trees else 'paths'}"
        self._trees = trees
        self._cache: Any = module.SuffixDecodingCache(_DEPTH, _REQUESTS)
        self._num_learnt: dict[int, int] = {}
        """Tokens of each running text that it was told."""

    def begin(self, sequence: Sequence) -> None:
        self._cache.start_request(sequence.id, sequence.tokens)
        self._num_learnt[sequence.id] = len(sequence.tokens)

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        trees = [Tree.rooted(sequence.tokens[-1]) for sequence in batch.decoding]
        if budget.allows(self.name):
            for tree, sequence in zip(trees, batch.decoding, strict=True):
                most = min(budget.share(len(trees)), budget.max_depth, sequence.num_left - 1)
                self._draft(tree, sequence, most)
        return Drafts.pack(trees, (self.name,), {self.name: self.version})

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """Nothing to draft ahead."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """Texts are shared with all others as they grow."""
        for sequence in batch.choosing:
            known = self._num_learnt[sequence.id]
            self._cache.add_active_response(sequence.id, sequence.tokens[known:])
            self._num_learnt[sequence.id] = len(sequence.tokens)

    def end(self, sequence: Sequence) -> None:
        self._cache.stop_request(sequence.id)
        del self._num_learnt[sequence.id]

    def load(self, checkpoint: Checkpoint) -> None:
        """There are no weights to load."""

    def cost(self, rows: int) -> float:
        return 0.0

    def _draft(self, tree: Tree, sequence: Sequence, most: int) -> None:
        if most <= 0:
            return
        factor = _GENEROUS if self._trees else 1.0
        found = self._cache.speculate(
            sequence.id, sequence.tokens[-_DEPTH:], most, max_spec_factor=factor, use_tree_spec=self._trees
        )
        for token, parent, prob in zip(found.token_ids, found.parents, found.probs, strict=True):
            chance = prob / (found.probs[parent] if parent >= 0 else 1.0)  # theirs is that of the whole path
            tree.add(parent + 1, token, min(chance, 1.0), 1)
