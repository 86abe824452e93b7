"""Hydra heads: each guesses from the target's last hidden state and from the tokens drafted before it.

Legend: N rows, K heads, H hidden size, V tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.hydra import Desk
from kernels.linear import linear, linear_add, pack_light
from kernels.native import runs_natively
from models.heads import Config, DraftHeads


class HydraHeads(DraftHeads):
    """K heads in a row, each the head before it with one more token read (Hydra, arXiv 2402.05109, section 3).

    s(0) = h,  s(k + 1) = s(k) + SiLU([norm s(k), norm e(k)] R + b) W

    h is the target's state that chose the root of a tree, e(k) the embedding of the token at depth k, the root's at depth 0;
    s(k + 1) makes the logits of depth k + 1. norm: to a mean square of one. W starts at zero: the identity.

    The paper's head k has weights of its own for h and each of its k + 1 tokens, (k + 2) H^2 numbers; here all heads share 3 H^2,
    and what a node adds to its parent's state costs the same at every depth. Tokens per step on answers kept aside after 30 s of
    one CPU thread (bundled target, 1,200 answers, trees of 16 nodes; sql, math, dialogue at temperature 0, then at 0.8):

                                              steps   sql   math  dialogue     sql   math  dialogue
        Medusa heads                            852   1.97  2.50  2.18        1.98  2.01  1.91
        h + SiLU([h, e(0), …, e(k)] R + b)      407   2.15  2.79  2.11        2.27  2.58  2.51
        the same + [h, e(0), …, e(k)] L         244   2.15  2.84  2.18        2.20  2.62  2.56
        s + SiLU([s, e] R + b), own weights     373   2.14  2.77  2.30        2.29  2.57  2.41
        the same, shared                        519   2.12  2.75  2.47        2.27  2.56  2.46
        with W, own weights                     283   2.15  2.87  2.41        2.31  2.64  2.53
        with W, shared                          338   2.13  2.89  2.50        2.31  2.68  2.64
        the same, twice as wide inside          261   2.16  2.89  2.35        2.26  2.68  2.67
        SwiGLU in place of SiLU                 315   2.17  2.92  2.42        2.30  2.63  2.58
        with W, shared, and norm s              376   2.16  2.95  2.47        2.30  2.72  2.61
    """

    SIZES = ("hidden_size", "num_heads", "vocab_size")

    def __init__(self, hidden_size: int, num_heads: int, vocab_size: int, embeddings: Tensor) -> None:
        """embeddings: [V, H] the target's input embeddings, which are no weights of these heads."""
        super().__init__()
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.vocab_size = vocab_size
        self._embeddings = (embeddings,)  # hidden from torch, which would move and cast them with the weights
        generator = torch.Generator().manual_seed(0)
        self.read = nn.Parameter(torch.randn(2 * hidden_size, hidden_size, generator=generator) / (2 * hidden_size) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.write = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    @property
    def embeddings(self) -> Tensor:
        return self._embeddings[0]

    @classmethod
    def from_config(cls, config: Config, embeddings: Tensor) -> HydraHeads:
        """Untrained heads of that shape. Raises BadModel, naming the field, for any other config."""
        hidden_size, num_heads, vocab_size = cls.sizes_of(config)
        return cls(hidden_size, num_heads, vocab_size, embeddings)

    def along(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        embedded = F.embedding(tokens, self.embeddings)
        states = [hidden]
        for head in range(self.num_heads):
            # the token that row j + head chose; behind the end, where nobody looks, the first ones again
            rows = _rows(states[-1], embedded.roll(-head, 0))
            inner = F.silu(torch.addmm(self.bias, rows, self.read))
            states.append(torch.addmm(states[-1], inner, self.write))
        return torch.stack(states[1:], 1)


class HydraSteps:
    """Hydra heads as trees are grown from them: node by node, with a copy of their weights packed light."""

    def __init__(self, weights: Mapping[str, Tensor], embeddings: Tensor) -> None:
        """weights: by the names of `HydraHeads`. embeddings: as there."""
        self._embeddings = embeddings
        self._read, self._write = (pack_light(weights[name].detach().t().contiguous()) for name in ("read", "write"))
        self._bias = weights["bias"].detach().clone()
        self.desk = Desk(self._read, self._bias, self._write, embeddings) if runs_natively(embeddings) else None
        """Where C grows whole trees of them."""

    def __call__(self, states: Tensor, tokens: Tensor) -> Tensor:
        """States [N, H] of nodes, which make the logits of their children, from their parents' states [N, H] and their tokens
        [N]. The state of a root's parent is the target's, that chose the root."""
        rows = _rows(states, F.embedding(tokens, self._embeddings))
        return linear_add(states, F.silu(linear(rows, self._read, self._bias)), self._write)


def _rows(states: Tensor, embedded: Tensor) -> Tensor:
    """[N, 2 H] what the heads read, from states and embeddings [N, H]."""
    both = torch.stack((states, embedded.to(states.dtype)), 1)
    return F.rms_norm(both, states.shape[-1:]).flatten(1)

