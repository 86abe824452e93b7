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
from models.pages import KeyValuePages, slots_of
from speculator.vocabulary import DraftVocabulary


@dataclass(slots=True, eq=False)
class Track:
    """A text as the draft model knows it."""

    pages: list[int]
    num_read: int = 0
    """Its first tokens, whose keys and values are in the pages."""
    first: int = 0
    """Tokens before this one were never read, and nobody looks at them."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The newest token of a branch behind a text, about to be read."""

    track: Track
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


Prepared = tuple[Decoder, DraftVocabulary]


class PagedRows:
    """Lays out what a pass reads: where its keys and values go, and what each row may look at."""

    def __init__(self, page_size: int, device: torch.device) -> None:
        self._page_size = page_size
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

    def of_branches(self, branches: Sequence[Branch]) -> Rows:
        """The newest token of each branch."""
        slots = [self._slot(branch.track, branch.place) for branch in branches]
        texts: dict[int, NDArray[np.int64]] = {}
        spans = []
        for row, (branch, slot) in enumerate(zip(branches, slots, strict=True)):
            track, length = branch.track, branch.text_length
            text = texts.get(id(track))
            if text is None or len(text) != length - track.first:
                text = texts[id(track)] = self._slots(track, length)
            own = [*(self._slot(track, place) for place in branch.behind), slot]
            # 2 us with numpy, 10 with torch: there are dozens of branches in every pass
            keys = torch.from_numpy(np.concatenate((text, own))).to(self._device)
            spans.append(Span(row, 1, keys))
        positions = [branch.position for branch in branches]
        return self._rows([branch.token for branch in branches], positions, slots, spans, None)

    def _rows(
        self, tokens: list[int], positions: list[int], slots: list[int], spans: list[Span], wanted: list[int] | None
    ) -> Rows:
        def made(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=self._device)

        scored = None if wanted is None or len(wanted) == len(tokens) else made(wanted)
        return Rows(made(tokens), made(positions), made(slots), Spans(spans), scored)

    def _keys(self, track: Track, length: int) -> slice | Tensor:
        found = slots_of(track.pages, self._page_size, track.first, length)
        return found if isinstance(found, slice) else torch.tensor(found, dtype=torch.int64, device=self._device)

    def _slots(self, track: Track, length: int) -> NDArray[np.int64]:
        found = slots_of(track.pages, self._page_size, track.first, length)
        return np.arange(found.start, found.stop) if isinstance(found, slice) else np.array(found, np.int64)

    def _slot(self, track: Track, place: int) -> int:
        return track.pages[place // self._page_size] * self._page_size + place % self._page_size


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
        self._rows = PagedRows(page_size, device)
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
        return self._decoder.states(self._rows.of_texts(texts, scored), self._pages)

    def grow(self, branches: Sequence[Branch]) -> Tensor:
        """Reads the newest token of each branch: hidden states [N, H]."""
        return self._decoder.states(self._rows.of_branches(branches), self._pages)

    def scores(self, states: Tensor) -> Tensor:
        """[N, V] of its vocabulary."""
        return self.vocabulary.scores(states)
