"""DraftRunner: a draft model over pages of its own: texts are read, and branches grow behind them.

A branch's tokens lie in slots behind the text, wherever there is one free, so what a row may look at is a list of slots: the
text's, those of its ancestors, its own. Several branches share positions and never see each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.attention import Span, Spans
from models.decoder import Decoder, Rows
from models.draft import DraftModel
from models.pages import KeyValuePages, PageTable
from speculator.vocabulary import DraftVocabulary


class Text(Protocol):
    """What branches grow behind."""

    pages: PageTable

    def seen(self, length: int) -> NDArray[np.int64]:
        """The slots that a branch behind its first `length` tokens looks at."""


@dataclass(slots=True, eq=False)
class Track:
    """A text as the draft model knows it."""

    pages: PageTable
    num_read: int = 0
    """Its first tokens, whose keys and values are in the pages."""
    first: int = 0
    """Tokens before this one were never read, and nobody looks at them."""

    def seen(self, length: int) -> NDArray[np.int64]:
        """[length - first] the slots of its first `length` tokens, as far as they were read."""
        return self.pages.slots(self.first, length)


@dataclass(frozen=True, slots=True)
class Branch:
    """The newest token of a branch behind a text, about to be read."""

    track: Text
    text_length: int
    """Tokens of the text that it continues, all of them read."""
    token: int
    place: int
    """Where it goes: a position of the track's pages, at least `text_length`, that no other branch uses."""
    behind: tuple[int, ...] = field(default=())
    """Places of its ancestors behind the text, oldest first."""
    parent: int = 0
    """Of the tokens of this text that were read just before, the one that it follows."""

    @property
    def position(self) -> int:
        return self.text_length + len(self.behind)


def branch_rows(branches: Sequence[Branch], device: torch.device) -> Rows:
    """One pass over the newest token of each branch, all of them scored."""
    slots = [branch.track.pages.slot(branch.place) for branch in branches]
    spans = []
    for row, (branch, slot) in enumerate(zip(branches, slots, strict=True)):
        own = [*(branch.track.pages.slot(place) for place in branch.behind), slot]
        # 2 us with numpy, 10 with torch: there are dozens of branches in every pass
        keys = torch.from_numpy(np.concatenate((branch.track.seen(branch.text_length), own))).to(device)
        spans.append(Span(row, 1, keys))
    tokens, positions = [branch.token for branch in branches], [branch.position for branch in branches]
    return Rows(_made(tokens, device), _made(positions, device), _made(slots, device), Spans(spans), None)


def _made(values: list[int], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.int64, device=device)


Prepared = tuple[Decoder, DraftVocabulary]


class PagedRows:
    """Lays out what a pass over texts reads: where its keys and values go, and what each row may look at."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def of_texts(self, texts: Sequence[tuple[Track, Sequence[int]]], scored: Sequence[int] | None = None) -> Rows:
        """What follows `num_read` of each text, which counts as read from now on. scored: see `DraftRunner.read`."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        wanted: list[int] = []
        spans: list[Span] = []
        for (track, following), count in zip(texts, scored or [1] * len(texts), strict=True):
            start, stop, first = track.num_read, track.num_read + len(following), len(tokens)
            keys = self._keys(track, stop)
            spans.append(Span(first, len(following), keys))
            own = range(keys.stop - len(following), keys.stop) if isinstance(keys, slice) else keys[-len(following) :].tolist()
            slots += own
            tokens += following
            positions += range(start, stop)
            wanted += range(len(tokens) - count, len(tokens))
            track.num_read = stop
        return self._rows(tokens, positions, slots, spans, wanted)

    def _rows(
        self, tokens: list[int], positions: list[int], slots: list[int], spans: list[Span], wanted: list[int]
    ) -> Rows:
        device = self._device
        scored = _made(wanted, device) if len(wanted) < len(tokens) else None
        return Rows(_made(tokens, device), _made(positions, device), _made(slots, device), Spans(spans), scored)

    def _keys(self, track: Track, length: int) -> slice | Tensor:
        found = track.pages.keys(length)
        if isinstance(found, slice):
            return slice(found.start + track.first, found.stop)
        return torch.from_numpy(found[track.first :]).to(self._device)


class PagedReader(Protocol):
    """As much of whoever reads over pages of its own as is the same for all of them."""

    vocabulary: DraftVocabulary

    def prepared(self, weights: Mapping[str, Tensor]) -> Any:
        """Weights in the form they are used in: any thread's work."""

    def take(self, prepared: Any) -> None:
        """Goes on with those weights."""

    def scores(self, states: Tensor) -> Tensor:
        """[N, V] of its vocabulary."""


class DraftRunner:
    """page_size, num_pages: of its pages; the target's, where the two run parallel. vocabulary: tokens worth drafting; None: as
    many as `DraftVocabulary` thinks right for a drafter that the target waits for."""

    def __init__(
        self,
        model: DraftModel,
        *,
        page_size: int,
        num_pages: int,
        device: torch.device,
        dtype: torch.dtype,
        vocabulary: int | None = None,
    ) -> None:
        self.page_size = page_size
        self._vocab_size = vocabulary
        self._device, self._dtype = device, dtype
        self.shape = model.shape
        """Of the models that it can run: that of its pages."""
        self._rows = PagedRows(device)
        self._decoder, self.vocabulary = self.prepared(model.tensors)
        self._pages = KeyValuePages(model.shape, page_size * num_pages, dtype, device)

    def prepared(self, weights: Mapping[str, Tensor]) -> Prepared:
        """Weights of its shape, by Hugging Face name, in the form they are used in: any thread's work."""
        detached = {name: tensor.detach() for name, tensor in weights.items()}
        decoder = Decoder(self.shape, detached, self._dtype, self._device)
        return decoder, DraftVocabulary(decoder.output_embeddings(), self._vocab_size)

    def take(self, prepared: Prepared) -> None:
        """Other weights of the same shape. What was read with the old ones stays: it costs acceptance, never correctness."""
        seen = self.vocabulary
        self._decoder, self.vocabulary = prepared
        self.vocabulary.see(seen.ids.tolist())

    def read(self, texts: Sequence[tuple[Track, Sequence[int]]], *, scored: Sequence[int] | None = None) -> Tensor:
        """Reads what follows `num_read` of each text, at least a token each, for which the pages have room.

        scored: of how many of its last tokens the states are wanted, text by text; None: of the last one. Returns [their sum, H].
        """
        return self._states(self._rows.of_texts(texts, scored))

    def grow(self, branches: Sequence[Branch]) -> Tensor:
        """Reads the newest token of each branch: hidden states [N, H]."""
        return self._states(branch_rows(branches, self._device))

    def scores(self, states: Tensor) -> Tensor:
        """[N, V] of its vocabulary."""
        return self.vocabulary.scores(states)

    def _states(self, rows: Rows) -> Tensor:
        rows.positions.clamp_(max=self.shape.max_positions - 1)  # drafts made ahead may reach past the end of the context
        return self._decoder.states(rows, self._pages)
