"""SnapKV: which of a text's positions its newest tokens look at (arXiv 2404.14469, section 4).

A page holds the keys of all heads and layers, so one selection serves them all: what each of them looks at is added up.

Legend: L positions of a text, W of them in the window at its end, A query heads, K key-value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kernels.attention import Span, Spans, ragged_attention
from models.decoder import Decoder
from models.pages import KeyValuePages

POOL = 5
"""Neighbouring positions whose attention is averaged: what is looked at is kept with what stands beside it."""


def attention_paid(decoder: Decoder, pages: KeyValuePages, window: Sequence[int], slots: slice | Tensor) -> Tensor:
    """[L] float32: the attention that the last W tokens pay to each position, over all their heads and layers.

    window: [W] those tokens; slots: of the L positions, the window included, whose keys and values are all written. The window is
    read once more, for its queries.
    """
    keys = Span(0, len(window), slots)
    spans, length = Spans([keys]), keys.num_keys
    paid = torch.zeros(length, device=decoder.device)

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        paid.add_(_paid(query, pages.keys[layer][:, slots]))
        return ragged_attention(query, pages.keys[layer], pages.values[layer], spans)

    positions = torch.arange(length - len(window), length, device=decoder.device)
    decoder.attended(torch.tensor(window, device=decoder.device), positions, attend)
    return paid


def _paid(query: Tensor, keys: Tensor) -> Tensor:
    """[L] of queries [W, A, D] to keys [K, L, D], of which the last W are their own."""
    (num_rows, num_heads, dim), (num_kv_heads, length, _) = query.shape, keys.shape
    grouped = query.view(num_rows, num_kv_heads, num_heads // num_kv_heads, dim).permute(1, 2, 0, 3)
    scores = (grouped.flatten(1, 2) @ keys.transpose(1, 2)).float().mul_(dim**-0.5)  # [K, A / K * W, L]
    hidden = torch.ones(num_rows, num_rows, dtype=torch.bool, device=query.device).triu_(1)
    scores.view(num_kv_heads, -1, num_rows, length)[..., length - num_rows :].masked_fill_(hidden, -torch.inf)
    return scores.softmax(-1).sum((0, 1))


def most_attended(paid: Tensor, *, count: int, sink: int, window: int) -> NDArray[np.int64]:
    """The `count` positions before the window that are kept, in the order of the text: the first `sink`, which every head
    leans on (StreamingLLM, arXiv 2309.17453), and those that most attention is paid to, neighbours averaged.

    paid: [L], at least `count` + `window` of them.
    """
    pooled = F.avg_pool1d(paid[None, None, : len(paid) - window], POOL, stride=1, padding=POOL // 2)[0, 0]
    pooled[:sink] = torch.inf
    found: NDArray[np.int64] = pooled.topk(count).indices.sort().values.cpu().numpy()
    return found
