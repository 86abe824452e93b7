"""What the masks of a parallel EAGLE layer see along a text: all depths behind all roots, from one reading.

(P-EAGLE, arXiv 2602.01469, which lays every depth at every place out as a row of one long text, and cuts that up where its mask
gets too large.) There is one layer, and what enters it is the same for every mask: what a mask asks of the text depends on its
place alone, not on how far back its root lies. So one query for each place serves all depths, and they all see the same keys but
for a few next to the place, which are told apart here: one matrix of a text's length squared, whatever the depth.

Legend: B texts, T rows of each, t of them wanted, the last, A query heads, K key-value heads, G query heads of each, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

_UNSEEN = -1e9
"""Added to the score of a key that is not to be seen; finite, so that a row that sees nothing has some share in everything, not
nan. Each mask sees itself, beside which this is nothing."""


class Behind:
    """Attention of masks at the last t places of texts, up to `deepest` places behind their roots.

    query: [t, A, D] of a mask at each of the places, turned. keys, values: [B, T, K, D] of the text, turned. first: [B] rows of
    each text that only fill it up. between: [deepest, A] scores of a mask for the one so many places before it, from itself on;
    value: [K, D] of every mask.
    """

    def __init__(
        self, query: Tensor, keys: Tensor, values: Tensor, first: Tensor, between: Tensor, value: Tensor
    ) -> None:
        (places, _, size), (_, length, heads, _) = query.shape, keys.shape
        deepest = len(between)
        grouped = query.view(places, heads, -1, size) * size**-0.5  # [t, K, G, D]
        scores = torch.einsum("tkgd,bskd->bkgts", grouped, keys).float()
        columns = torch.arange(length, device=keys.device)
        rows, first = columns[length - places :, None], first[:, None, None]
        far = (scores + _bias((columns <= rows - deepest) & (columns >= first))).unsqueeze(-2)  # [B, K, G, t, 1, T]
        self._far = far.logsumexp(-1)  # [B, K, G, t, 1]
        shares = far.squeeze(-2).softmax(-1).to(values.dtype)
        self._far_value = torch.einsum("bkgts,bskd->btkgd", shares, values)
        back = rows - torch.arange(1, deepest, device=keys.device)  # [t, deepest - 1] rows of the text that not all depths see
        near = scores.gather(-1, back.clamp(min=0).expand(*scores.shape[:-1], -1))
        self._near = near + _bias(back >= first)
        self._near_values = values[:, back.clamp(min=0)]  # [B, t, deepest - 1, K, D]
        self._between = between.view(deepest, heads, -1).permute(1, 2, 0)[:, :, None]  # [K, G, 1, deepest]
        self._value = value[:, None]

    def attend(self, depth: int) -> Tensor:
        """[B, t, A, D] of the masks whose root lies `depth` places before them, from 1 on."""
        near, values = self._near[..., depth - 1 :], self._near_values[:, :, depth - 1 :]
        masks = self._between[..., :depth].expand(*near.shape[:-1], -1)
        shares = torch.cat((self._far, near, masks), -1).softmax(-1).permute(0, 3, 1, 2, 4)  # [B, t, K, G, keys]
        stop = 1 + near.shape[-1]
        out = shares[..., :1] * self._far_value + torch.einsum("btkgj,btjkd->btkgd", shares[..., 1:stop], values)
        return (out + shares[..., stop:].sum(-1, keepdim=True) * self._value).flatten(2, 3)


def _bias(sees: Tensor) -> Tensor:
    """[B, 1, 1, t, n] to be added to scores, from what is seen [B, t, n]."""
    return torch.where(sees, 0.0, _UNSEEN)[:, None, None]
