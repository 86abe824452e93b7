"""Lots: who is chosen for a share, by hash: the same conversation, or the same replica, every time."""

from __future__ import annotations

import hashlib


def lot(text: str) -> float:
    """A number from 0 to 1, drawn once for ever: the same text draws the same."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64


def salted(number: float, salt: str) -> float:
    """Another draw made of a draw, so that it is not the same conversations that everything is tried out on."""
    return (number + lot(salt)) % 1.0
