"""What the target thought of one token. Without torch: the HTTP side reads it too."""

from __future__ import annotations

import msgspec


class Scored(msgspec.Struct, frozen=True, array_like=True):
    """Log-probabilities at one position, by the target's raw scores: before edits, temperature and filters."""

    token: int
    """That stands there."""
    logprob: float
    rank: int
    """Of the token: 1 is the likeliest."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens, as many as were asked for, best first; that one may be among them or not."""
