"""Target: turns a batch and its drafts into one forward pass, and keeps what was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf

import numpy as np
import torch
from torch import Tensor

from kernels.attention import Span, Spans
from models.decoder import Decoder, Rows, Scores
from models.pages import KeyValuePages, PagePool, slots_of
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts
from speculator.verify import Verdicts


class Target:
    """The target model, its pages, and the pass under way."""

    def __init__(self, decoder: Decoder, pool: PagePool) -> None:
        self.decoder = decoder
        self.pool = pool
        self.capture: tuple[int, ...] = ()
        """Layers whose states sequences are handed: see `Sequence.layers`."""
        self._pages = KeyValuePages(decoder.config, pool.num_slots, decoder.dtype, decoder.device)
        self._scores: Scores | None = None
        self._drafts: Drafts | None = None

    def launch(self, batch: Batch, drafts: Drafts) -> None:
        """Starts one pass over every draft and prompt chunk. `drafts` has a tree for each of `batch.choosing`."""
        self._drafts = drafts
        self._scores = self.decoder.forward(self._rows(batch, drafts), self._pages, self.capture)

    def wait(self) -> Scores:
        """The scores of every node of the drafts, [N, …]."""
        assert self._scores is not None, "nothing was launched"
        return self._scores

    def keep(self, batch: Batch, verdicts: Verdicts) -> None:
        """Moves the keys and values of accepted nodes behind their prefix, and hands each sequence the hidden state that chose
        its newest token, and the states of other layers that are asked for. To be called before the sequences move on."""
        assert self._scores is not None
        assert self._drafts is not None
        source: list[int] = []
        destination: list[int] = []
        rows = self._drafts.offsets.tolist()
        for sequence, start, accepted in zip(batch.choosing, rows, verdicts.accepted, strict=False):
            sequence.hidden = self._scores.hidden[start + (accepted[-1] if accepted else 0)]
            for depth, node in enumerate(accepted, 1):
                if node != depth:
                    source.append(self._slot(sequence, sequence.num_written + node))
                    destination.append(self._slot(sequence, sequence.num_written + depth))
        if source:
            device = self.decoder.device
            self._pages.move(torch.tensor(source, device=device), torch.tensor(destination, device=device))
        if self.capture:
            self._hand_over(batch, verdicts, self._scores.layers, rows)

    def _hand_over(self, batch: Batch, verdicts: Verdicts, layers: Mapping[int, Tensor], starts: SequenceOf[int]) -> None:
        """To each sequence the states of what this step wrote of it: its root and the accepted nodes, or some of its prompt."""
        rows: list[int] = []
        ends: list[tuple[Sequence, int]] = []
        for sequence, start, accepted in zip(batch.decoding, starts, verdicts.accepted, strict=False):
            rows += [start, *(start + node for node in accepted)]
            ends.append((sequence, len(rows)))
        start = starts[len(batch.decoding)]
        for chunk in batch.chunks:
            rows += range(start, start + chunk.num_tokens)
            start += chunk.num_tokens
            ends.append((chunk.sequence, len(rows)))
        written = torch.tensor(rows, device=self.decoder.device)
        states = {layer: layers[layer].index_select(0, written) for layer in self.capture}
        first = 0
        for sequence, end in ends:
            sequence.layers = {layer: each[first:end] for layer, each in states.items()}
            first = end

    def keys_and_values(self, sequence: Sequence) -> tuple[Tensor, Tensor]:
        """[M, K, L, D] copies of what is written for a sequence: for tests and audits."""
        slots = slots_of(sequence.pages, self.pool.page_size, 0, sequence.num_written)
        return self._pages.keys[:, :, slots].clone(), self._pages.values[:, :, slots].clone()

    def _rows(self, batch: Batch, drafts: Drafts) -> Rows:
        offsets = drafts.offsets.tolist()
        num_tree_rows = offsets[len(batch.decoding)]
        tokens = [drafts.tokens[:num_tree_rows]]
        positions = [drafts.depth[:num_tree_rows].astype(np.int64)]
        slots: list[np.ndarray] = []
        spans: list[Span] = []
        for index, sequence in enumerate(batch.decoding):
            start, stop = offsets[index], offsets[index + 1]
            positions[0][start:stop] += sequence.num_written
            ancestors = drafts.ancestors[start:stop] if stop - start > 1 else None
            slots.append(self._add_span(spans, sequence, start, stop - start, ancestors))
        scored = list(range(num_tree_rows))
        start = num_tree_rows
        for chunk in batch.chunks:
            sequence, written = chunk.sequence, chunk.sequence.num_written
            tokens.append(np.array(sequence.tokens[written : written + chunk.num_tokens], np.int64))
            positions.append(np.arange(written, written + chunk.num_tokens))
            slots.append(self._add_span(spans, sequence, start, chunk.num_tokens))
            start += chunk.num_tokens
            if chunk.completes:
                scored.append(start - 1)
        device = self.decoder.device
        return Rows(
            torch.from_numpy(np.concatenate(tokens)).to(device),
            torch.from_numpy(np.concatenate(positions)).to(device),
            torch.from_numpy(np.concatenate(slots)).to(device),
            Spans(spans),
            torch.tensor(scored, dtype=torch.int64, device=device) if batch.chunks else None,
        )

    def _add_span(
        self, spans: list[Span], sequence: Sequence, start: int, num_rows: int, ancestors: np.ndarray | None = None
    ) -> np.ndarray:
        """Appends the span of `num_rows` new rows; returns their slots [n]."""
        size, written = self.pool.page_size, sequence.num_written
        keys = slots_of(sequence.pages, size, 0, written + num_rows)
        if isinstance(keys, slice):
            spans.append(Span(start, num_rows, keys, ancestors))
            return np.arange(keys.stop - num_rows, keys.stop)
        spans.append(Span(start, num_rows, torch.tensor(keys, device=self.decoder.device), ancestors))
        return np.array(keys[-num_rows:], np.int64)

    def _slot(self, sequence: Sequence, position: int) -> int:
        size = self.pool.page_size
        return sequence.pages[position // size] * size + position % size
