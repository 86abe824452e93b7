"""SuffixMatch: the longest suffix of a growing text that a suffix tree holds."""

from __future__ import annotations

from speculator.suffix_tree import SuffixTree


class SuffixMatch:
    """Follows one text through a tree that others feed: a token moves the locus on or shortens it, 2 us a
    token."""

    __slots__ = ("_seen", "length", "node", "tree")

    def __init__(self, tree: SuffixTree) -> None:
        self.tree = tree
        self.node = 0
        self.length = 0
        """Tokens matched: always short of the tree's depth, so that there is room for what follows."""
        self._seen = 0

    def follow(self, text: list[int]) -> None:
        """Catches up with `text`, which has only grown since the last call."""
        tree, end = self.tree, len(text)
        if end - self._seen > tree.max_depth:
            self.node, self.length = tree.longest_suffix(text[-tree.max_depth :])
        else:
            if not tree.holds(self.node, text[self._seen - self.length : self._seen]):
                self.node, self.length = tree.longest_suffix(text[max(0, self._seen - tree.max_depth) : self._seen])
            for at in range(self._seen, end):
                self._take(text, at)
        self._seen = end

    def _take(self, text: list[int], at: int) -> None:
        tree, token = self.tree, text[at]
        while not (below := tree.step(self.node, self.length, token)):
            if self.length == 0:
                return
            self._shorten(text, at)
        self.node, self.length = below, self.length + 1
        if self.length == tree.max_depth:
            self._shorten(text, at + 1)

    def _shorten(self, text: list[int], end: int) -> None:
        locus = self.tree.walk(text[end - self.length + 1 : end])
        assert locus is not None, "a suffix of what the tree holds is held too"
        self.node, self.length = locus
