"""DraftVocabulary: the tokens worth drafting, so that a drafter need not look at all there are.

What a drafter's scores cost is reading the unembedding, which is as large as the vocabulary; what is ever drafted with success
is a small part of it. (FR-Spec, arXiv 2502.14856, takes the most frequent tokens of a corpus; here traffic itself says
which they are, from one step to the next.)

Legend: V tokens of the target, N tokens of the draft vocabulary, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kernels.linear import linear, pack_weight, replace_row

_SHARE = 4
_FEWEST = 2048
_KEEP = 0.5
"""Weight that past uses keep whenever counts are halved."""
_HALVE_EVERY = 1 << 16
"""Tokens."""


class DraftVocabulary:
    """N of V tokens: those used lately, and for the rest the lowest ids, which tokenizers of merged pairs give to the most
    frequent. A token that is used enters at once, for the one used least.

    embeddings: [V, H] the target's output embeddings.
    """

    def __init__(self, embeddings: Tensor, size: int | None = None) -> None:
        vocab_size = len(embeddings)
        self.size = min(vocab_size, size or max(_FEWEST, vocab_size // _SHARE))
        self._embeddings = embeddings
        self._weight = pack_weight(embeddings[: self.size].contiguous())
        self.ids = torch.arange(self.size, dtype=torch.int32, device=embeddings.device)
        """[N] int32: the token of each column of the scores."""
        self._column = {token: token for token in range(self.size)}
        self._uses: dict[int, float] = {}
        self._free = list(range(self.size))
        """Columns of tokens never used, the least frequent last."""
        self._num_seen = 0

    def scores(self, states: Tensor) -> Tensor:
        """[…, N] float32 from states […, H]."""
        flat = linear(states.reshape(-1, states.shape[-1]), self._weight)
        return flat.float().view(*states.shape[:-1], self.size)

    def see(self, tokens: Iterable[int]) -> None:
        """Counts tokens that were used."""
        if self.size == len(self._embeddings):
            return
        for token in tokens:
            if token not in self._uses:
                self._enter(token)
            self._uses[token] = self._uses.get(token, 0.0) + 1.0
            self._num_seen += 1
        if self._num_seen >= _HALVE_EVERY:
            self._num_seen = 0
            for token in self._uses:
                self._uses[token] *= _KEEP

    def _enter(self, token: int) -> None:
        if token in self._column:
            self._free.remove(self._column[token])
            return
        column = self._free.pop() if self._free else self._leave()
        before = int(self.ids[column])
        self._column.pop(before, None)
        self._column[token] = column
        self.ids[column] = token
        replace_row(self._weight, column, self._embeddings[token])

    def _leave(self) -> int:
        """Puts the token used least out; its column."""
        token = min(self._uses, key=self._uses.__getitem__)
        del self._uses[token]
        return self._column.pop(token)
