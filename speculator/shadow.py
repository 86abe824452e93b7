"""Shadow: what sources that did not run, or did not win, would have got accepted.

The emitted text does not depend on who drafted (point-mass law), so any source's tree can be scored on it afterwards, exactly
and for free: full information, where a bandit would see only the arm it pulled (the idea of HedgeSpec).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace

from speculator.batch import Sequence
from speculator.drafts import Drafts, Tree
from speculator.outlook import Promise

RARER = 4
"""How much rarer shadowed steps are while nothing is drafted."""


@dataclass(frozen=True, slots=True)
class _Pending:
    of: str | Promise
    """The source, or the arm with all that is known of it but the tokens."""
    start: int
    """Index in the sequence's tokens of the token that the root's children predict."""
    tree: Tree


class Shadow:
    """Holds trees until the text they bet on is there. Every `every` steps is due, 0: never, if there is time: of all of it no
    more than `share` goes into hearing sources."""

    def __init__(self, every: int, share: float = 0.02) -> None:
        self._every = every
        self.share = share
        self._step = 0.0
        self._pending: defaultdict[int, list[_Pending]] = defaultdict(list)
        self._counters: Counter[str] = Counter()
        self._news: list[Promise | str] = []

    def due(self, drafting: bool = True) -> bool:
        """Whether this step is to be shadowed: while nothing is drafted, a quarter as often, since it costs a draft.

        To be asked once a step.
        """
        self._step += 1 if drafting else 1 / RARER
        if self._every == 0 or self._step < self._every:
            return False
        self._step = 0.0
        return True

    def add(self, source: str, sequences: tuple[Sequence, ...], drafts: Drafts) -> None:
        """Takes a source's own trees, one for each of `sequences`, before they are verified. Not of lossy answers (see
        `Sequence.exact`)."""
        for row, sequence in enumerate(sequences):
            if sequence.speculative and sequence.num_left > 1 and sequence.exact:
                self._pending[sequence.id].append(_Pending(source, len(sequence.tokens), drafts.tree(row)))

    def add_arm(self, promise: Promise, sequence: Sequence, tree: Tree) -> None:
        """Takes what an arm would have had verified for a sequence, unless its answer is lossy. promise: its tokens are not known
        yet."""
        if sequence.exact:
            self._pending[sequence.id].append(_Pending(promise, len(sequence.tokens), tree))

    def news(self) -> SequenceOf[Promise | str]:
        """What came to light since the last time: arms that were scored, and sources that have other weights now."""
        news, self._news = self._news, []
        return news

    @property
    def hears(self) -> bool:
        """Whether any step is ever due."""
        return self._every > 0

    @property
    def waiting(self) -> bool:
        """Whether any tree waits for its text."""
        return bool(self._pending)

    def settle(self, sequence: Sequence, ended: bool) -> None:
        """Scores the trees of a sequence whose text is there; all of them when it has ended."""
        waiting = self._pending.pop(sequence.id, None)
        if waiting is None:
            return
        left = []
        for pending in waiting:
            if ended or len(sequence.tokens) - pending.start >= max(pending.tree.depth):
                self._score(pending, sequence.tokens, ended)
            else:
                left.append(pending)
        if left:
            self._pending[sequence.id] = left

    def counters(self) -> dict[str, float]:
        """`shadow_steps:<source>` and `shadow_tokens:<source>`: their ratio is a mean acceptance length."""
        return dict(self._counters)

    def forget(self, source: str) -> None:
        """The source has other weights now."""
        self._news.append(source)

    def _score(self, pending: _Pending, tokens: list[int], ended: bool) -> None:
        length = 1 + accepted_along(pending.tree, tokens, pending.start)
        if ended:  # no room for a bonus token
            length = min(length, len(tokens) - pending.start)
        if isinstance(pending.of, Promise):
            self._news.append(replace(pending.of, tokens=length))
            return
        source = pending.of
        self._counters[f"shadow_steps:{source}"] += 1
        self._counters[f"shadow_tokens:{source}"] += length


def accepted_along(tree: Tree, tokens: list[int], start: int) -> int:
    """Drafted nodes accepted if the target emits tokens[start:], at most as many as there are."""
    node = 0
    for index in range(start, len(tokens)):
        child = tree.child(node, tokens[index])
        if child is None:
            return index - start
        node = child
    return max(0, len(tokens) - start)
