"""Outputs that loop: easy to draft, they flatter every figure of acceptance; it is given without them too."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PERIOD = 32
"""Tokens."""
REPEATS = 3


def is_looping(ids: Sequence[int]) -> bool:
    """Whether some stretch of at most MAX_PERIOD tokens stands REPEATS times in a row anywhere in `ids`."""
    for period in range(1, min(MAX_PERIOD, len(ids) // REPEATS) + 1):
        matched = 0  # tokens in a row that equal the one a period before
        for here, before in zip(ids[period:], ids, strict=False):
            matched = matched + 1 if here == before else 0
            if matched == period * (REPEATS - 1):
                return True
    return False
