"""Tenant: what a suffix tree remembers of what one tenant was served, and texts that wait to be learnt."""

from __future__ import annotations

import time
from collections import deque

import msgspec

from speculator.suffix_forest import Forest, forest
from speculator.suffix_state import TreeState, ints, listed


class TenantState(msgspec.Struct, frozen=True):
    """As it is kept in a file."""

    name: str
    since: float
    saved_at: float
    tree: TreeState
    waiting: tuple[bytes, ...]
    num_taken: int
    """Tokens of the first of those that are in the tree already."""


class Tenant:
    """since: Unix seconds; nothing in here is older."""

    def __init__(self, max_depth: int, max_tokens: int, trees: Forest | None = None) -> None:
        self._forest = trees or forest()
        self.tree = self._forest.tree(max_depth, max_tokens)
        self.since = time.time()
        self.saved_at = 0.0
        self.changed = False
        """Since it was saved."""
        self._waiting: deque[list[int]] = deque()
        self._num_waiting = 0
        self._most_waiting = max_tokens
        self._at = 0

    def remember(self, text: list[int]) -> None:
        """Puts a text in the queue; the oldest leave it when they are more than the tree would hold."""
        self.changed = True
        self._waiting.append(text)
        self._num_waiting += len(text)
        while self._num_waiting > self._most_waiting and len(self._waiting) > 1:
            self._num_waiting -= len(self._waiting[1])
            del self._waiting[1]  # of the first, a part may be in the tree

    def learn(self, num_tokens: int) -> None:
        """Takes up to `num_tokens` of what waits into the tree. What has to go for it, but was of use, waits again."""
        while num_tokens > 0 and self._waiting:
            text = self._waiting[0]
            part = text[self._at : self._at + num_tokens]
            self.tree.extend(part)
            num_tokens -= len(part)
            self._at += len(part)
            if self._at == len(text):
                self.tree.close()
                self._num_waiting -= len(text)
                self._waiting.popleft()
                self._at = 0
        while self.tree.leaving:
            self.remember(self.tree.leaving.pop())

    def copied(self) -> Tenant:
        """One that does not change with this one, for a thread to save."""
        copy = Tenant(self.tree.max_depth, self._most_waiting, self._forest)
        copy.tree, copy.since = self._forest.copied(self.tree), self.since
        copy._waiting, copy._num_waiting, copy._at = self._waiting.copy(), self._num_waiting, self._at
        return copy

    def state(self, name: str) -> TenantState:
        """To be saved."""
        tree = self._forest.freeze(self.tree)
        return TenantState(name, self.since, time.time(), tree, tuple(map(ints, self._waiting)), self._at)

    @classmethod
    def restored(cls, state: TenantState, max_depth: int, max_tokens: int, trees: Forest | None = None) -> Tenant:
        """As it was saved. Where the tree is to be of another size now, its texts wait to be learnt again.

        Raises ValueError where it was no tree.
        """
        tenant = cls(max_depth, max_tokens, trees)
        waiting = list(map(listed, state.waiting))
        most = len(waiting[0]) if waiting else 0
        if not 0 <= state.num_taken <= most:
            raise ValueError(f"num_taken is {state.num_taken}, expected 0 to {most}, the tokens of what waits first")
        if (state.tree.max_depth, state.tree.max_suffixes) == (max_depth, max_tokens):
            tenant.tree, tenant._at = tenant._forest.thaw(state.tree), state.num_taken
        else:
            texts = [listed(text) for serial, text in state.tree.texts.items() if serial != state.tree.open_text]
            waiting = texts + waiting
        for text in waiting:
            tenant.remember(text)
        tenant.since, tenant.saved_at = state.since, state.saved_at
        tenant.changed = False
        return tenant
