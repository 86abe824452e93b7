"""How far each position turns: the rotary embedding's parameters, read from a `config.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import UnsupportedModel
from models.fields import Fields

DEFAULT_THETA = 10000.0


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's stretch of the long wavelengths."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int

    def __call__(self, frequencies: Tensor) -> Tensor:
        """[D / 2]: slow frequencies divided by `factor`, fast ones kept, those between blended."""
        turns = self.original_max_positions * frequencies / (2 * math.pi)  # within the pretraining's context
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        kept = kept.clamp(0.0, 1.0)
        return (1 - kept) * frequencies / self.factor + kept * frequencies


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Parameters of the rotary position embedding."""

    theta: float = DEFAULT_THETA
    scaling: Llama3Scaling | None = None

    def frequencies(self, head_dim: int) -> Tensor:
        """[D / 2] radians per position, float32, on the CPU."""
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        frequencies = 1.0 / (self.theta**exponents)
        return frequencies if self.scaling is None else self.scaling(frequencies)

    @classmethod
    def from_fields(cls, fields: Fields, max_positions: int) -> RopeConfig:
        """From `rope_parameters` (transformers 5) or `rope_scaling` and a top-level `rope_theta`.

        Raises UnsupportedModel for types other than default and llama3, BadModel for a field that is wrong.
        """
        rope = fields.section("rope_scaling" if fields.given("rope_scaling") else "rope_parameters")
        theta = rope.number("rope_theta", fields.number("rope_theta", DEFAULT_THETA))
        for section in (rope, fields):
            if section.number("partial_rotary_factor", 1.0) != 1.0:
                raise UnsupportedModel(f"{section.path('partial_rotary_factor')}: only 1.0 is supported")
        kind = rope.text("rope_type", rope.text("type", "default"))
        if kind == "default":
            return cls(theta)
        if kind != "llama3":
            raise UnsupportedModel(f"{rope.path('rope_type')} is {kind!r}; supported: default, llama3")
        return cls(theta, _llama3(rope, fields.raw("original_max_position_embeddings") or max_positions))


def _llama3(rope: Fields, default_positions: int) -> Llama3Scaling:
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if high <= low:
        raise rope.wrong("high_freq_factor", f"a number above low_freq_factor ({low})")
    original = rope.integer("original_max_position_embeddings", default_positions, minimum=1)
    return Llama3Scaling(rope.number("factor"), low, high, original)
