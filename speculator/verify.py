"""Verification by the point-mass law: exact for any tree, any pruning, any mixture of sources.

At each node the target chooses one token; the child that equals it is followed, else the token is emitted and the walk
stops. The choice depends on nothing that was drafted, so the emitted text is plain decoding's, token for token.
(The law of EAGLE-2's and SpecExec's verification, arXiv 2406.16858 and 2406.02532, with the sample made once per node.)

Where the children of a node were drawn from a belief that is kept, they are accepted by rejection sampling instead
(`speculator.rejection`), for whoever has asked for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from speculator.batch import Sampling
from speculator.drafts import Drafts, Tree
from speculator.law import Chooser
from speculator.likeliest import Likeliest
from speculator.processor import Processor
from speculator.rejection import settle


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
    accepted: list[tuple[int, ...]] = []
    emitted: list[tuple[int, ...]] = []
    start = 0
    for row, tree in enumerate(drafts.trees):
        stop_ids = sampling[row].stop_ids
        path: list[int] = []
        said: list[int] = []
        node = 0
        while True:
            token, child = _next(tree, node, choose, row, start, positions[row] + len(said))
            said.append(token)
            choose.accept(row, token)
            if child is None:
                break
            path.append(child)
            if token in stop_ids:
                break  # the text ends here: no bonus token
            node = child
        accepted.append(tuple(path))
        emitted.append(tuple(said))
        start += len(tree)
    return Verdicts(tuple(accepted), tuple(emitted), Likeliest(logits))


def _next(tree: Tree, node: int, choose: Chooser, row: int, start: int, position: int) -> tuple[int, int | None]:
    """The token behind `node`, and the child that it is; None: it was not drafted."""
    belief = tree.beliefs.get(node)
    if belief is None:
        token = choose(row, start + node, position)
        return token, tree.child(node, token)
    children = tree.children(node)
    drawn = [tree.tokens[child] for child in children]
    token, number = settle(choose.probs(row, start + node), belief, drawn, choose.dice(row, position))
    return token, None if number is None else children[number]
