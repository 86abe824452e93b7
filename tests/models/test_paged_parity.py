"""The ragged pass over pages computes what transformers computes on each sequence alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.attention import Span, Spans
from models.decoder import Decoder, Rows
from models.loading import load_target
from models.pages import KeyValuePages, PageTable
from tests.models.families import FAMILIES, random_tokens, save_model
from tests.models.test_parity import TOLERANCE, theirs

PAGE_SIZE = 16
NEIGHBOURS, SCATTERED = list(range(3, 11)), [17, 0, 14, 2, 19, 11, 16, 1]
"""Pages of two sequences: keys read in one piece, and keys gathered."""


@dataclass
class Reader:
    """A sequence being read chunk by chunk."""

    tokens: Tensor
    pages: list[int]
    num_written: int = 0

    @property
    def table(self) -> PageTable:
        return PageTable(PAGE_SIZE, self.pages)


@dataclass(frozen=True)
class Piece:
    """What a sequence brings to one pass: tokens `depths` behind what is written, maybe a tree."""

    reader: Reader
    tokens: Tensor
    depths: list[int]
    ancestors: NDArray[np.uint64] | None = None

    def slots(self) -> list[int]:
        start, count = self.reader.num_written, len(self.tokens)
        return self.reader.table.slots(start, start + count).tolist()

    def span(self, start: int) -> Span:
        count = len(self.tokens)
        keys = self.reader.table.keys(self.reader.num_written + count)
        return Span(start, count, keys if isinstance(keys, slice) else torch.from_numpy(keys), self.ancestors)


def one_pass(decoder: Decoder, pages: KeyValuePages, pieces: Sequence[Piece]) -> list[Tensor]:
    """Logits of each piece, all run side by side."""
    counts = [len(piece.tokens) for piece in pieces]
    starts = np.cumsum([0, *counts])[:-1].tolist()
    written = [piece.reader.num_written + depth for piece in pieces for depth in piece.depths]
    rows = Rows(
        tokens=torch.cat([piece.tokens for piece in pieces]),
        positions=torch.tensor(written),
        slots=torch.tensor([slot for piece in pieces for slot in piece.slots()]),
        spans=Spans([piece.span(start) for piece, start in zip(pieces, starts, strict=True)]),
        scored=None,
    )
    logits = decoder.forward(rows, pages).logits
    return [logits[start : start + count] for start, count in zip(starts, counts, strict=True)]


def chunk(reader: Reader, count: int) -> Piece:
    start = reader.num_written
    return Piece(reader, reader.tokens[start : start + count], list(range(count)))


def read(decoder: Decoder, pages: KeyValuePages, reader: Reader, counts: Sequence[int]) -> None:
    for count in counts:
        one_pass(decoder, pages, [chunk(reader, count)])
        reader.num_written += count


def used_pages(decoder: Decoder) -> KeyValuePages:
    """Pages full of what an earlier owner left: none of it may show."""
    pages = KeyValuePages(decoder.config, 20 * PAGE_SIZE, decoder.dtype, torch.device("cpu"))
    pages.keys.normal_()
    pages.values.normal_()
    return pages


Models = tuple[torch.nn.Module, Decoder, KeyValuePages]


@pytest.fixture(params=list(FAMILIES))
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Models:
    model = save_model(request.param, tmp_path)
    decoder = load_target(str(tmp_path)).decoder
    return model, decoder, used_pages(decoder)


def test_chunked_prefill_and_single_tokens_side_by_side_equal_transformers(models: Models) -> None:
    model, decoder, pages = models
    readers = [Reader(random_tokens(120, 1), NEIGHBOURS), Reader(random_tokens(100, 2), SCATTERED)]
    seen: list[list[Tensor]] = [[], []]
    for counts in [(37, 80), (1, 1), (60, 1), (1, 17), (21, 1)]:
        pieces = [chunk(reader, count) for reader, count in zip(readers, counts, strict=True)]
        for index, logits in enumerate(one_pass(decoder, pages, pieces)):
            seen[index].append(logits)
            readers[index].num_written += counts[index]
    for reader, parts in zip(readers, seen, strict=True):
        assert reader.num_written == len(reader.tokens)
        torch.testing.assert_close(torch.cat(parts), theirs(model, reader.tokens), rtol=0, atol=TOLERANCE)


def test_every_node_of_a_tree_equals_transformers_on_its_path_alone(models: Models) -> None:
    model, decoder, pages = models
    reader = Reader(random_tokens(90, 3), SCATTERED)
    read(decoder, pages, reader, (50, 40))
    parents = [-1, 0, 0, 1, 1, 2, 5, 3]
    paths = [[0]]
    for node in range(1, len(parents)):
        paths.append([*paths[parents[node]], node])
    ancestors = np.array([[sum(1 << node for node in path)] for path in paths], np.uint64)
    tokens = random_tokens(len(parents), 4)
    tree = Piece(reader, tokens, [len(path) - 1 for path in paths], ancestors)
    other = Reader(random_tokens(30, 5), NEIGHBOURS)
    logits = one_pass(decoder, pages, [tree, chunk(other, 30)])[0]
    for node, path in enumerate(paths):
        alone = theirs(model, torch.cat((reader.tokens, tokens[path])))[-1]
        torch.testing.assert_close(logits[node], alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", ["llama-scaled-rope", "qwen2", "qwen3"])
def test_bfloat16_runs_over_pages_as_it_does_over_one_sequence(family: str, tmp_path: Path) -> None:
    save_model(family, tmp_path)
    decoder = load_target(str(tmp_path), dtype="bfloat16").decoder
    reader, pages = Reader(random_tokens(90, 6), SCATTERED), used_pages(decoder)
    read(decoder, pages, reader, (50, 1))
    logits = one_pass(decoder, pages, [chunk(reader, 39)])[0]
    whole = decoder.logits(decoder.hidden_states(reader.tokens))[51:]
    error = (logits - whole).pow(2).mean().sqrt() / whole.std()
    assert error < 0.05  # eight bits leave some 0.02; a key out of place would bring it to about 1
