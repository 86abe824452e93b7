"""Draft heads: small networks that guess the tokens after the next from the target's last hidden state; Medusa's among them.

Legend: N rows, K heads, B blocks, H hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.linear import linear, pack_light
from models.errors import BadModel
from models.weights import check_finite, check_shapes

Config = Mapping[str, int | float | str | bool]


class DraftHeads(nn.Module, ABC):
    """What heads of every kind have in common.

    Head k (from 0) turns the state that chose one token into the state that would choose the token k + 1 places after it; the
    target's own frozen unembedding, applied by the caller, makes logits of it. Untrained heads are the identity: each predicts
    what the target predicts.
    """

    SIZES: ClassVar[tuple[str, ...]]
    """Attributes that rebuild the module, integers of at least 1: its config."""
    hidden_size: int
    num_heads: int
    vocab_size: int
    """The target's: heads are of no use to a target with another."""

    @property
    def config(self) -> dict[str, int | float | str | bool]:
        """What rebuilds the module: goes into the manifest of a checkpoint."""
        return {name: getattr(self, name) for name in self.SIZES}

    @classmethod
    def sizes_of(cls, config: Config) -> list[int]:
        """In the order of `SIZES`. Raises BadModel, naming the field, for a config of something else."""
        if config.keys() != set(cls.SIZES):
            raise BadModel(f"config of heads has fields {sorted(config)}; expected {sorted(cls.SIZES)}")
        sizes: list[int] = []
        for name in cls.SIZES:
            value = config[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadModel(f"config of heads: {name} is {value!r}; expected an integer of at least 1")
            sizes.append(value)
        return sizes

    @abstractmethod
    def along(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """States [N, K, H] of all heads along a text, from the target's states [N, H] and the tokens [N] that they chose.

        Head k of the last k rows has no token to stand on: what it gives there means nothing.
        """

    @torch.no_grad()
    def copy_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights over into the tensors in use, after all of them are found sound.

        Raises BadModel, naming the tensor and leaving everything as it was, for one that is missing,
        unexpected, mis-shaped or not finite.
        """
        self.check_fits(weights)
        own = dict(self.named_parameters())
        for name, tensor in self.sound(weights).items():
            own[name].copy_(tensor)

    def check_fits(self, weights: Mapping[str, Tensor]) -> None:
        """Raises BadModel, naming the tensor, for one that is missing, unexpected or mis-shaped."""
        check_shapes("heads", weights, {name: tuple(own.shape) for name, own in self.named_parameters()})

    def sound(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights that fit, of the dtype and on the device of these heads'. Raises BadModel, naming the tensor, for one that is
        not finite."""
        check_finite("heads", weights)
        own = dict(self.named_parameters())
        return {name: tensor.detach().to(own[name]) for name, tensor in weights.items()}


class MedusaHeads(DraftHeads):
    """K heads of residual blocks `h + SiLU(h W + b)`, which see no drafted token (Medusa, arXiv 2401.10774, section 2.1.1)."""

    SIZES = ("hidden_size", "num_heads", "num_blocks", "vocab_size")

    def __init__(self, hidden_size: int, num_heads: int, num_blocks: int, vocab_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.num_blocks = num_blocks
        self.vocab_size = vocab_size
        self.weight = nn.Parameter(torch.zeros(num_blocks, num_heads, hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(num_blocks, num_heads, hidden_size))

    @classmethod
    def from_config(cls, config: Config) -> MedusaHeads:
        """Untrained heads of that shape. Raises BadModel, naming the field, for any other config."""
        return cls(*cls.sizes_of(config))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., K, H] from the target's hidden states [..., H] after its last norm."""
        rows = hidden.reshape(-1, self.hidden_size)
        states = rows.expand(self.num_heads, -1, -1)  # [K, N, H]
        for weight, bias in zip(self.weight, self.bias, strict=True):
            states = states + F.silu(torch.baddbmm(bias.unsqueeze(1), states, weight))
        return states.transpose(0, 1).reshape(*hidden.shape[:-1], self.num_heads, self.hidden_size)

    def along(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        states: Tensor = self(hidden)
        return states


class PackedMedusa:
    """Medusa heads as they draft, with a copy of their weights packed light: what takes the time is reading them."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """weights: by the names of `MedusaHeads`."""
        weight, bias = weights["weight"].detach(), weights["bias"].detach()
        self._num_heads = weight.shape[1]
        self._first = pack_light(weight[0].transpose(1, 2).flatten(0, 1).contiguous())
        self._first_bias = bias[0].flatten().clone()
        self._blocks = [[pack_light(each.t().contiguous()) for each in block] for block in weight[1:]]
        self._biases = [block.clone() for block in bias[1:]]

    def __call__(self, hidden: Tensor) -> Tensor:
        """[N, K, H], as the heads' own, from hidden states [N, H]."""
        num_rows, size = hidden.shape
        states = F.silu(linear(hidden, self._first, self._first_bias))
        states = states.view(num_rows, self._num_heads, size).add_(hidden.unsqueeze(1))
        for weights, biases in zip(self._blocks, self._biases, strict=True):
            heads = zip(states.unbind(1), weights, biases, strict=True)
            states = states + F.silu(torch.stack([linear(each.contiguous(), *block) for each, *block in heads], 1))
        return states
