"""Target: turns a batch and its drafts into one forward pass, and keeps what was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf

import numpy as np
import torch
from torch import Tensor

from kernels.attention import Span, Spans
from models.decoder import Decoder, Rows, Scores
from models.pages import KeyValuePages, PagePool
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts
from speculator.scoring import score_prompts
from speculator.verify import Verdicts


class Target:
    """The target model, its pages, and the pass under way."""

    def __init__(self, decoder: Decoder, pool: PagePool) -> None:
        self.decoder = decoder
        self.pool = pool
        self.capture: tuple[int, ...] = ()
        """Layers whose states sequences are handed: see `Sequence.layers`."""
        self.pages = KeyValuePages(decoder.config, pool.num_slots, decoder.dtype, decoder.device)
        self._scores: Scores | None = None
        self._drafts: Drafts | None = None

    def copy(self, batch: Batch) -> None:
        """Makes the copies of pages that sequences of the batch go on behind."""
        if batch.copies:
            size, device = self.pool.page_size, self.decoder.device
            spans = [(each.source * size, each.destination * size, np.arange(each.num_slots)) for each in batch.copies]
            source = np.concatenate([first + slots for first, _, slots in spans])
            destination = np.concatenate([first + slots for _, first, slots in spans])
            self.pages.move(torch.from_numpy(source).to(device), torch.from_numpy(destination).to(device))

    def launch(self, batch: Batch, drafts: Drafts) -> None:
        """Starts one pass over every draft and prompt chunk. `drafts` has a tree for each of `batch.choosing`."""
        self._drafts = drafts
        self._scores = self.decoder.forward(self._rows(batch, drafts), self.pages, self.capture)

    def wait(self) -> Scores:
        """The scores of every node of the drafts, [N, …]."""
        assert self._scores is not None, "nothing was launched"
        return self._scores

    def keep(self, batch: Batch, verdicts: Verdicts) -> None:
        """Moves the keys and values of accepted nodes behind their prefix, and hands each sequence the hidden state that chose
        its newest token, the states of other layers that are asked for, and what it wants to know of its prompt. To be called
        before the sequences move on."""
        assert self._scores is not None
        assert self._drafts is not None
        if self._scores.read is not None:
            score_prompts(batch, self._scores.read, self.decoder.logits)
        source: list[int] = []
        destination: list[int] = []
        rows = self._drafts.offsets.tolist()
        for sequence, start, accepted in zip(batch.choosing, rows, verdicts.accepted, strict=False):
            sequence.hidden = self._scores.hidden[start + (accepted[-1] if accepted else 0)]
            for depth, node in enumerate(accepted, 1):
                if node != depth:
                    source.append(sequence.pages.slot(sequence.num_written + node))
                    destination.append(sequence.pages.slot(sequence.num_written + depth))
        if source:
            device = self.decoder.device
            self.pages.move(torch.tensor(source, device=device), torch.tensor(destination, device=device))
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
        slots = sequence.pages.slots(0, sequence.num_written)
        return self.pages.keys[:, :, slots].clone(), self.pages.values[:, :, slots].clone()

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
        scored, read = list(range(num_tree_rows)), []
        start = num_tree_rows
        for chunk in batch.chunks:
            sequence, written = chunk.sequence, chunk.sequence.num_written
            tokens.append(np.array(sequence.tokens[written : written + chunk.num_tokens], np.int64))
            positions.append(np.arange(written, written + chunk.num_tokens))
            slots.append(self._add_span(spans, sequence, start, chunk.num_tokens))
            read += [start + row for row in chunk.told]
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
            torch.tensor(read, dtype=torch.int64, device=device) if read else None,
        )

    def _add_span(
        self, spans: list[Span], sequence: Sequence, start: int, num_rows: int, ancestors: np.ndarray | None = None
    ) -> np.ndarray:
        """Appends the span of `num_rows` new rows; returns their slots [n]."""
        stop = sequence.num_written + num_rows
        keys = sequence.pages.keys(stop)
        where = keys if isinstance(keys, slice) else torch.from_numpy(keys).to(self.decoder.device)
        spans.append(Span(start, num_rows, where, ancestors))
        return sequence.pages.slots(sequence.num_written, stop)
