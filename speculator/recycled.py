"""Recycled: for each token the likeliest next ones as the target last saw them, in whatever text that was.

(The adjacency matrix of Token Recycling, arXiv 2408.08696, section 3.2, with the probabilities beside the tokens.)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speculator.likeliest import COUNT

_SAID = 0.5
"""Probability of a token of which nothing is known but that it followed."""


class Recycled:
    """64 bytes a token of the vocabulary; the system hands out memory for rows as they are written."""

    def __init__(self, vocab_size: int) -> None:
        self.since = time.time()
        """Unix seconds; nothing in here is older."""
        self._tokens = np.zeros((vocab_size, COUNT), np.int32)
        self._probs = np.zeros((vocab_size, COUNT), np.float32)
        """Falling along a row; 0: there is no token."""
        self.addresses = self._tokens.ctypes.data, self._probs.ctypes.data
        """Of both, which stay where they are."""

    def learn(self, seen: NDArray[np.int64], tokens: NDArray[np.int32], probs: NDArray[np.float32]) -> None:
        """Takes in what may follow each of the tokens `seen` [N]: `tokens`, `probs` [N, C], likeliest first. Of a token that
        is there twice the last stays."""
        width = tokens.shape[1]
        self._tokens[seen, :width] = tokens
        self._probs[seen, :width] = probs

    def skim(self, text: Sequence[int]) -> None:
        """Fills gaps from a text that the target did not score: what followed a token of which nothing is known."""
        tokens = np.array(text, np.int64)
        before, after = tokens[:-1], tokens[1:]
        unknown = self._probs[before, 0] == 0
        self._tokens[before[unknown], 0] = after[unknown]
        self._probs[before[unknown], 0] = _SAID

    def follow(self, text: Sequence[int]) -> None:
        """The same, and each token that followed becomes the first of its row."""
        for before, after in itertools.pairwise(text):
            tokens, probs = self._tokens[before], self._probs[before]
            (places,) = ((tokens == after) & (probs > 0)).nonzero()
            last = int(places[0]) if len(places) else COUNT - 1
            tokens[1 : last + 1] = tokens[:last].copy()
            probs[1 : last + 1] = probs[:last] * (1 - _SAID)
            tokens[0], probs[0] = after, max(_SAID, float(probs[0]))

    def after(self, token: int) -> list[tuple[float, int]]:
        """(probability, token) of what may follow, likeliest first; empty where nothing is known."""
        probs: list[float] = self._probs[token].tolist()
        if not probs[0]:
            return []
        return list(zip(probs, self._tokens[token].tolist(), strict=True))
