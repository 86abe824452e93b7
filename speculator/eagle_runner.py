"""EagleRunner: an EAGLE layer over pages of its own: texts are read from the target's layers, and branches grow behind them.

Rows of a text are always made of what the target said, also where they were drafted: what the layer itself said of them lies in
places behind the text, which the next draft takes for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.eagle import EagleLayer
from models.eagle_steps import EagleSteps
from models.pages import KeyValuePages
from speculator.draft_runner import Branch, PagedRows, Track, branch_rows
from speculator.vocabulary import DraftVocabulary


class EagleRunner:
    """page_size, num_pages: of its pages; the target's, where the two run parallel. vocabulary: tokens worth drafting; None: as
    many as `DraftVocabulary` thinks right.

    It scores with the target's own unembedding, which is frozen, so a version is the layer alone, and the draft vocabulary
    follows traffic from step to step, where the paper's is fixed before training and has an unembedding of its own to learn.
    """

    def __init__(self, layer: EagleLayer, *, page_size: int, num_pages: int, vocabulary: int | None = None) -> None:
        decoder = layer.decoder
        self.shape = layer.shape
        self.config = layer.config
        """Of the layers that it can run."""
        self.parallel = layer.parallel
        self.vocabulary = DraftVocabulary(decoder.output_embeddings(), vocabulary)
        self._decoder = decoder
        self._rows = PagedRows(decoder.device)
        self._steps = self.prepared(layer.tensors)
        self._pages = KeyValuePages(layer.shape, page_size * num_pages, decoder.dtype, decoder.device)

    def prepared(self, weights: Mapping[str, Tensor]) -> EagleSteps:
        """Weights of its shape, in the form they are used in: any thread's work."""
        return EagleSteps(self.shape, weights, self._decoder)

    def take(self, prepared: EagleSteps) -> None:
        """Other weights of the same shape. What was read with the old ones stays: it costs acceptance, never correctness."""
        self._steps = prepared

    def read(self, texts: Sequence[tuple[Track, Sequence[int]]], features: Tensor) -> Tensor:
        """Reads what follows `num_read` of each text, at least a token each. features: [T, L H] the target's layers at the place
        before each token. Returns [texts, H] what goes on from the last of each."""
        return self._steps.read(features, self._rows.of_texts(texts), self._pages)

    def read_ahead(self, texts: Sequence[tuple[Track, Sequence[int]]], features: Tensor, masks: Sequence[int]) -> Tensor:
        """As `read`, and in the same pass so many masks of a parallel layer behind each text: [texts + masks, H], the last of
        each text followed by its masks. They lie in places behind the text, which count as free."""
        with_masks = [(track, [*new, *[0] * count]) for (track, new), count in zip(texts, masks, strict=True)]
        rows = self._rows.of_texts(with_masks, [1 + count for count in masks])
        for (track, _), count in zip(texts, masks, strict=True):
            track.num_read -= count
        return self._steps.read(features, rows, self._pages, masks)

    def grow(self, branches: Sequence[Branch], parents: Tensor) -> Tensor:
        """[N, H] reads the newest token of each branch; parents: [N, H] what goes on from the tokens that they follow."""
        return self._steps.grow(parents, branch_rows(branches, self._decoder.device), self._pages)

    def scores(self, states: Tensor) -> Tensor:
        """[N, V] of its vocabulary, from what goes on [N, H]."""
        return self.vocabulary.scores(self._steps.states(states))

    def nothing_before(self, num_features: int) -> Tensor:
        """[1, L H] what stands before the first token of a text."""
        return torch.zeros(1, num_features, dtype=self._decoder.dtype, device=self._decoder.device)
