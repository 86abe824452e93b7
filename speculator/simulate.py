"""Simulation: what a source's drafts would have been worth on a text that is already there.

Under the point-mass law the emitted text does not depend on who drafted it, so walking trees along a recorded
text gives exactly the steps that serving it from that source would have taken: the counterfactual of
`speculator.shadow`, for whole texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from speculator.drafts import Tree

Draft = Callable[[int], Tree]
"""The index of a root within the text -> the tree drafted under it."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """The verification steps that texts take. The first token of an answer comes of its prompt's pass, not of
    a step.

    By depth, from 1, as in `pipelines.trace.SourceRecord`: nodes proposed, nodes whose parent was accepted,
    nodes accepted.
    """

    num_tokens: int = 0
    num_steps: int = 0
    proposed: tuple[int, ...] = ()
    reached: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()

    def __add__(self, other: Simulated) -> Simulated:
        return Simulated(
            self.num_tokens + other.num_tokens,
            self.num_steps + other.num_steps,
            _sum(self.proposed, other.proposed),
            _sum(self.reached, other.reached),
            _sum(self.accepted, other.accepted),
        )

    @property
    def tokens_per_step(self) -> float:
        """Mean acceptance length, the bonus token included; 1 without steps."""
        return self.num_tokens / self.num_steps if self.num_steps else 1.0


def simulate(text: Sequence[int], num_prompt: int, draft: Draft) -> Simulated:
    """Serves a text (prompt and output) again, with a tree from `draft` at each step."""
    total = Simulated()
    root = num_prompt
    while root < len(text) - 1:
        step = _step(text, root, draft(root))
        total += step
        root += step.num_tokens
    return total


def _step(text: Sequence[int], root: int, tree: Tree) -> Simulated:
    """One step: the path of `tree` along the text, then the target's own token if the text has one left."""
    path = [0]
    for token in text[root + 1 :]:
        child = tree.child(path[-1], token)
        if child is None:
            break
        path.append(child)
    emitted = min(len(path), len(text) - 1 - root)
    return Simulated(emitted, 1, *_by_depth(tree, path))


def _by_depth(tree: Tree, path: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    proposed = [0] * max(tree.depth)
    reached, accepted = proposed.copy(), proposed.copy()
    taken = set(path)
    for node in range(1, len(tree)):
        level = tree.depth[node] - 1
        proposed[level] += 1
        reached[level] += tree.parent[node] in taken
        accepted[level] += node in taken
    return tuple(proposed), tuple(reached), tuple(accepted)


def _sum(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    return tuple(
        count + (shorter[level] if level < len(shorter) else 0) for level, count in enumerate(longer)
    )
