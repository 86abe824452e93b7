"""DraftVocabulary: the tokens worth drafting, so that a drafter need not look at all there are.

What a drafter's scores cost is reading the unembedding, which is as large as the vocabulary; what is ever drafted with success
is a small part of it. (FR-Spec, arXiv 2502.14856, takes the most frequent tokens of a corpus; here traffic itself says
which they are, from one step to the next.)

Legend: V tokens of the target, N tokens of the draft vocabulary, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from kernels.linear import Weight, linear, pack_weight, replace_rows

_SHARE = 4
_FEWEST = 2048
_MOST_USES = 8
"""More are not counted: so often a token is passed over before it must go."""


class DraftVocabulary:
    """N of V tokens: those used lately, and for the rest the lowest ids, which tokenizers of merged pairs give to the most
    frequent. A token that is used enters at once, for one that was not used lately: a hand goes round the columns, takes one use
    off each and stops where there is none left (the clock algorithm of page replacement), so that a step never searches.

    embeddings: [V, H] the target's output embeddings. pack: how they are laid out, and whether rounded.
    """

    def __init__(
        self, embeddings: Tensor, size: int | None = None, pack: Callable[[Tensor], Weight] = pack_weight
    ) -> None:
        vocab_size = len(embeddings)
        self.size = min(vocab_size, size or self.size_for(vocab_size))
        self._embeddings = embeddings
        self._weight = pack(embeddings[: self.size].contiguous())
        self.ids = torch.arange(self.size, dtype=torch.int32, device=embeddings.device)
        """[N] int32: the token of each column of the scores."""
        self._column = {token: token for token in range(self.size)}
        self._tokens = list(range(self.size))
        self._uses = [0] * self.size
        self._hand = self.size
        """Goes down: the least frequent of the tokens never used leave first."""

    @staticmethod
    def size_for(vocab_size: int) -> int:
        """Tokens for a drafter that the target waits for, unless it knows better."""
        return max(_FEWEST, vocab_size // _SHARE)

    @property
    def unembedding(self) -> Weight:
        """[N, H] packed."""
        return self._weight

    def scores(self, states: Tensor) -> Tensor:
        """[…, N] float32 from states […, H]."""
        flat = linear(states.reshape(-1, states.shape[-1]), self._weight)
        return flat.float().view(*states.shape[:-1], self.size)

    def see(self, tokens: Iterable[int]) -> None:
        """Counts tokens that were used."""
        if self.size == len(self._embeddings):
            return
        column_of, uses = self._column, self._uses
        changed: set[int] = set()
        for token in tokens:
            column = column_of.get(token)
            if column is None:
                column = self._enter(token)
                changed.add(column)
            uses[column] = min(uses[column] + 1, _MOST_USES)
        if changed:
            self._lay_down(sorted(changed))

    def _enter(self, token: int) -> int:
        """The column of a token that was not there, now its own."""
        uses = self._uses
        while True:
            self._hand = (self._hand or self.size) - 1
            if not uses[self._hand]:
                break
            uses[self._hand] -= 1
        column = self._hand
        del self._column[self._tokens[column]]
        self._tokens[column] = token
        self._column[token] = column
        return column

    def _lay_down(self, columns: list[int]) -> None:
        """Writes what has other tokens now: all at once, since a drafter that is rarely asked has many to hear of."""
        where = torch.tensor([columns, [self._tokens[column] for column in columns]]).to(self._embeddings.device)
        self.ids.index_copy_(0, where[0], where[1].int())
        replace_rows(self._weight, columns, self._embeddings.index_select(0, where[1]))
