"""Walk: how far the target goes along with one draft tree, by the exact laws."""

from __future__ import annotations

from dataclasses import dataclass

from speculator.drafts import Tree
from speculator.law import Chooser
from speculator.rejection import settle

Said = tuple[tuple[int, ...], tuple[int, ...]]
"""The accepted nodes, root left out, and the emitted tokens: theirs, and behind them the target's own."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One tree of a step, and where it stands."""

    tree: Tree
    row: int
    """Of its sequence in the step."""
    start: int
    """Row of its root among the scores."""
    position: int
    """In the output, of the token that follows the root."""
    stop_ids: frozenset[int]

    def exact(self, choose: Chooser) -> Said:
        """Follows the target's choices, and moves on what looks at the history."""
        path: list[int] = []
        said: list[int] = []
        node = 0
        while True:
            token, child = self.next(choose, node)
            said.append(token)
            choose.accept(self.row, token)
            if child is None:
                break
            path.append(child)
            if token in self.stop_ids:
                break  # the text ends here: no bonus token
            node = child
        return tuple(path), tuple(said)

    def next(self, choose: Chooser, node: int) -> tuple[int, int | None]:
        """The token behind `node`, and the child that it is; None: it was not drafted."""
        tree, row, position = self.tree, self.row, self.position + self.tree.depth[node]
        belief = tree.beliefs.get(node)
        if belief is None:
            token = choose(row, self.start + node, position)
            return token, tree.child(node, token)
        children = tree.children(node)
        drawn = [tree.tokens[child] for child in children]
        token, number = settle(choose.probs(row, self.start + node), belief, drawn, choose.dice(row, position))
        return token, None if number is None else children[number]
