"""Likeness: how far one target's choices are from another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.decoder import Decoder
from trainer.kept import Kept


@dataclass(frozen=True, slots=True)
class Likeness:
    """Along recorded answers."""

    num_tokens: int
    divergence: float
    """KL(original || other) in nats a token."""
    same_first: float
    """Share of tokens at which both have the same likeliest one."""

    def __str__(self) -> str:
        return f"{self.divergence:.5f} nats a token, {self.same_first:.1%} of first choices the same ({self.num_tokens} tokens)"


def likeness(original: Decoder, other: Decoder, traces: Sequence[Kept]) -> Likeness:
    """Of two decoders of one vocabulary. Raises ValueError where no answer holds a token."""
    num_tokens, divergence, same = 0, 0.0, 0
    for trace in traces:
        one, two = (_log_probs(decoder, trace) for decoder in (original, other))
        num_tokens += len(one)
        divergence += float((one.exp() * (one - two.to(one.device))).sum())
        same += int((one.argmax(-1) == two.argmax(-1).to(one.device)).sum())
    if not num_tokens:
        raise ValueError(f"answers: {len(traces)}, and no token among them to compare targets by")
    return Likeness(num_tokens, divergence / num_tokens, same / num_tokens)


def _log_probs(decoder: Decoder, trace: Kept) -> torch.Tensor:
    """[P, V] at the tokens of the answer."""
    hidden = decoder.hidden_states(torch.tensor(trace.tokens[:-1]))[len(trace.trace.prompt_ids) - 1 :]
    return decoder.logits(hidden).log_softmax(-1)
