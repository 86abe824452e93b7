"""Rejection sampling at one node of a draft tree: exact in distribution for tokens that were drawn from a known belief.

A drawn token x is accepted with probability min(1, p(x) / q(x)); turned down, the target's choice comes from what is left,
max(p - q, 0) normalised (Leviathan et al., arXiv 2211.17192; Chen et al., arXiv 2302.01318). Of several children drawn without
replacement each is put to what the one before has left, its belief without the ones before (Sequoia, arXiv 2402.12374,
algorithm 2; SpecTr and SpecInfer draw with replacement, and their rule would be wrong here).

The text has the target's distribution, but it is not the text of plain decoding with the same seed.

Legend: V tokens of the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speculator.belief import Belief
from speculator.law import Dice


def settle(probs: NDArray[np.float64], belief: Belief, drawn: Sequence[int], dice: Dice) -> tuple[int, int | None]:
    """The token that follows, and which of the drawn ones it is; None: the target's own.

    probs: [V] the target's distribution, filtered. drawn: tokens in the order in which they were drawn from `belief`.
    """
    left, held = probs.copy(), np.array(belief.tokens, np.int64)
    theirs, total = np.array(belief.probs), 1.0
    for number, token in enumerate(drawn):
        at = belief.tokens.index(token)
        mine, share = float(left[token]), float(theirs[at]) / total
        if dice.accepts(number, 1.0 if mine >= share else mine / share):
            return token, number
        less = left.copy()
        less[held] = np.maximum(left[held] - theirs / total, 0.0)
        rest = float(less.sum())
        if rest > 0.0:  # else the two were equal but for rounding
            left = less / rest
        total -= float(theirs[at])
        theirs[at] = 0.0
        if total <= 0.0:
            break
    return dice.chooses(left), None
