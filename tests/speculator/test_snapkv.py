"""SnapKV's scores and selection against an oracle that computes them one query, one head and one position at a time."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.attention import Span, Spans
from models.decoder import Rows
from models.pages import KeyValuePages, PageTable
from speculator.snapkv import POOL, attention_paid, most_attended
from tests.serving.rig import VOCAB, tiny_decoder

DECODER = tiny_decoder()
SCATTERED = PageTable(4, [7, 3, 12, 1, 20, 0, 15, 9])


def written(text: list[int], table: PageTable) -> KeyValuePages:
    """Pages that hold the keys and values of a text, and nonsense everywhere else."""
    pages = KeyValuePages(DECODER.config, 100, torch.float32, torch.device("cpu"))
    pages.keys.normal_()
    pages.values.normal_()
    slots = torch.from_numpy(table.slots(0, len(text)))
    spans = Spans([Span(0, len(text), slots)])
    DECODER.forward(Rows(torch.tensor(text), torch.arange(len(text)), slots, spans, None), pages)
    return pages


def paid_naively(text: list[int], num_window: int) -> list[float]:
    """Sum over layers, heads and queries of the window of softmax(q k / sqrt(D)), each position in a loop of its own."""
    seen: list[tuple[Tensor, Tensor]] = []

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen.append((query, key))
        heads = (each.transpose(0, 1)[None] for each in (query, key, value))
        return F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True)[0].transpose(0, 1)

    DECODER.attended(torch.tensor(text), torch.arange(len(text)), attend)
    total = [0.0] * len(text)
    for query, key in seen:
        group = query.shape[1] // key.shape[1]
        for row in range(len(text) - num_window, len(text)):
            for head in range(query.shape[1]):
                scores = [float(query[row, head] @ key[at, head // group]) / math.sqrt(query.shape[2]) for at in range(row + 1)]
                share = 1 / sum(math.exp(score) for score in scores)
                for at, score in enumerate(scores):
                    total[at] += share * math.exp(score)
    return total


@pytest.mark.parametrize(("length", "num_window"), [(30, 5), (9, 1), (7, 7)])
@pytest.mark.parametrize("scattered", [True, False])
def test_attention_paid_is_the_naive_sum(length: int, num_window: int, scattered: bool) -> None:
    text = [random.Random(length).randrange(VOCAB) for _ in range(length)]
    table = SCATTERED if scattered else PageTable(4, range(3, 11))
    pages = written(text, table)
    found = table.keys(length)
    slots = found if isinstance(found, slice) else torch.from_numpy(found)
    before = pages.keys.clone(), pages.values.clone()
    paid = attention_paid(DECODER, pages, text[-num_window:], slots)
    np.testing.assert_allclose(paid.numpy(), paid_naively(text, num_window), rtol=1e-4, atol=1e-5)
    assert torch.equal(pages.keys, before[0])
    assert torch.equal(pages.values, before[1]), "looking leaves everything as it was"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(0, 5), st.integers(1, 9), st.data())
def test_what_is_kept_is_the_first_and_the_most_attended_with_their_neighbours(
    seed: int, num_before: int, sink: int, window: int, data: st.DataObject
) -> None:
    paid = np.random.default_rng(seed).random(num_before + window).astype(np.float32)
    count = data.draw(st.integers(min(sink, num_before), num_before))
    kept = most_attended(torch.from_numpy(paid), count=count, sink=min(sink, num_before), window=window)
    reach = POOL // 2
    pooled = [sum(map(float, paid[max(0, at - reach) : min(num_before, at + reach + 1)])) for at in range(num_before)]
    first = min(sink, num_before)
    best = sorted(range(first, num_before), key=lambda at: -pooled[at])[: count - first]
    assert kept.tolist() == sorted([*range(first), *best])
