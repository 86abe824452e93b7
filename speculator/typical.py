"""Typical acceptance: more of a draft is accepted than the target would choose. LOSSY: the text is not the target's own.

A drafted token x is accepted where p(x) > min(epsilon, delta * exp(-H(p))), p being what the target would choose from there, with
temperature, filters and edits applied, and H its entropy in nats (Medusa, arXiv 2401.10774, section 2.3.1, after truncation as
desmoothing, Hewitt et al., arXiv 2210.15191). The longest accepted path wins, of equally long ones the likeliest.

What the exact law would say at a node is accepted as well, so a step accepts at least as many tokens as it would exactly, and
with thresholds that nothing passes the same ones. The paper takes the target's likeliest token there.

Legend: V tokens of the target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.trace import Typical
from speculator.law import Chooser
from speculator.walk import Said, Walk


def threshold(probs: NDArray[np.float64], typical: Typical) -> float:
    """What a token's probability must exceed where the target's are [V]."""
    some = probs[probs > 0.0]
    entropy = -float(some @ np.log(some))
    return min(typical.epsilon, typical.delta * math.exp(-entropy))


def longest(walk: Walk, choose: Chooser, typical: Typical) -> Said:
    """The best way through the tree; then moves on what looks at the history."""
    best = _best(walk, choose, typical, 0)
    for token in best.said:
        choose.accept(walk.row, token)
    return best.path, best.said


@dataclass(frozen=True, slots=True)
class _Way:
    """From a node on."""

    path: tuple[int, ...]
    said: tuple[int, ...]
    likelihood: float = 1.0
    """Of the accepted tokens: the product of their probabilities."""

    @property
    def worth(self) -> tuple[int, float]:
        return len(self.path), self.likelihood


def _best(walk: Walk, choose: Chooser, typical: Typical, node: int) -> _Way:
    tree = walk.tree
    own, exact = walk.next(choose, node)
    best = _Way((), (own,))
    children = tree.children(node)
    if not children:
        return best
    probs = choose.probs(walk.row, walk.start + node)
    least = threshold(probs, typical)
    for child in children:
        token = tree.tokens[child]
        if child != exact and not probs[token] > least:
            continue
        ended = token in walk.stop_ids  # no bonus token
        rest = _Way((), ()) if ended else _best(walk, choose.beyond(walk.row, token), typical, child)
        way = _Way((child, *rest.path), (token, *rest.said), float(probs[token]) * rest.likelihood)
        best = max(best, way, key=lambda each: each.worth)
    return best
