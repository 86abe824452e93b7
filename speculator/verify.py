"""Verification by the point-mass law: exact for any tree, any pruning, any mixture of sources.

At each node the target chooses one token; the child that equals it is followed, else the token is emitted and the walk
stops. The choice depends on nothing that was drafted, so the emitted text is plain decoding's, token for token.
(The law of EAGLE-2's and SpecExec's verification, arXiv 2406.16858 and 2406.02532, with the sample made once per node.)

Where the children of a node were drawn from a belief that is kept, they are accepted by rejection sampling instead
(`speculator.rejection`), for whoever has asked for that. Who has asked for lossy answers, and was allowed to, gets more
accepted (`speculator.typical`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from speculator.batch import Sampling
from speculator.drafts import Drafts
from speculator.law import Chooser
from speculator.likeliest import Likeliest
from speculator.processor import Processor
from speculator.typical import longest
from speculator.walk import Said, Walk


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the target said of each tree."""

    accepted: tuple[tuple[int, ...], ...]
    """[B][…] accepted nodes, as indices within the tree, in order of depth; the root is not listed."""
    emitted: tuple[tuple[int, ...], ...]
    """[B][…] the accepted tokens and then the target's own (recovered or bonus) token: at least one. Nothing
    follows a stop id."""
    likeliest: Likeliest | None = field(default=None, compare=False)
    """What the target might have said at every verified node, rejected ones too; None: there are no scores, as where a
    recorded text is drafted for again."""


def verify(
    drafts: Drafts,
    logits: Tensor,
    sampling: Sequence[Sampling],
    positions: Sequence[int],
    chooser: Callable[[Tensor, Sequence[Sampling], Sequence[Sequence[Processor]]], Chooser] = Chooser,
    processors: Sequence[Sequence[Processor]] = (),
) -> Verdicts:
    """Walks each tree of `drafts`.

    logits: [N, V] the target's raw scores at every node. sampling, positions: [B] how each sequence is drawn, and the output
    position (tokens emitted so far) of the token that follows its root. processors: [B] what edits its scores, which moves
    on with the walk; none at all: nobody has any.
    """
    choose = chooser(logits, sampling, processors)
    said: list[Said] = []
    start = 0
    for row, (tree, how, position) in enumerate(zip(drafts.trees, sampling, positions, strict=True)):
        walk = Walk(tree, row, start, position, how.stop_ids)
        said.append(walk.exact(choose) if how.lossy is None or how.greedy else longest(walk, choose, how.lossy))
        start += len(tree)
    return Verdicts(tuple(path for path, _ in said), tuple(tokens for _, tokens in said), Likeliest(logits))
