"""Taught: the target, as far as the trainer needs it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.decoder import Decoder


@dataclass(frozen=True, slots=True)
class Taught:
    """Who teaches."""

    decoder: Decoder
    fingerprint: str
    tokenizer: str
    """Fingerprint of the tokenizer."""
    stored: str = ""
    """Fingerprint of the weights as stored, where `fingerprint` is of rounded ones: see `models.loading.Target`."""

    def unembed(self, states: Tensor) -> Tensor:
        """Logits [..., V] of states [..., H] of whatever dtype."""
        return self.decoder.logits(states.to(self.decoder.dtype))
