"""SuffixTree: every substring of a sliding window over token texts, with how often it occurs; grown token by
token.

A path-compressed trie of the suffixes of all texts, cut at `max_depth` tokens (SuffixDecoding, arXiv
2411.04975). Grown as Ukkonen's tree is: a suffix becomes a leaf only when it differs from all before it, and
a leaf of the text still open grows by itself. One insertion a token, each a walk of a few nodes: 3 us a token
in a request's own text, 5 us among 100,000 tokens; 1.1 nodes and 190 bytes a token on the bundled target's
answers, 2 nodes at most.

Nodes are rows of integer columns, not objects: 32 bytes each beside their edge, and the garbage collector
never walks them.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence

_ROOT = 0
_TOKEN_BITS = 32


class SuffixTree:
    """Texts are appended one after another: `extend` grows the open one, `close` ends it.

    Holds at most `max_suffixes` suffixes (one for each token); the oldest go first, one by one, so that no
    step pays for a whole text. A text that was of use since it came (`use`) is handed out as it begins to go
    (`leaving`): whoever feeds the tree may feed it again, so that what goes for good was not used for longest.
    A *locus* is a place in the tree: (node, length) stands for the first `length` tokens of the string of
    `node`, and `node` is the shallowest whose string is that long.
    """

    def __init__(self, max_depth: int = 24, max_suffixes: int = 1 << 17) -> None:
        assert max_depth >= 2
        assert max_suffixes >= 2 * max_depth
        self.max_depth = max_depth
        self._max_suffixes = max_suffixes
        self._texts: dict[int, list[int]] = {0: []}
        self._edges: dict[int, int] = {}
        """node << 32 | first token of the edge -> child."""
        # Columns of the nodes; 0, the root, also stands for none.
        self._parent = array("i", [0])
        self._child = array("i", [0])
        """The child used last; `_next` leads to the one used before it."""
        self._next = array("i", [0])
        self._previous = array("i", [0])
        self._depth = array("i", [0])
        """Length of the node's string. Leaves of the open text say `max_depth`, where they will end if it
        goes on."""
        self._count = array("i", [0])
        """Suffixes whose path goes through the node or ends in it."""
        self._owner = array("i", [0])
        self._start = array("i", [0])
        """The string of a node is texts[owner][start : start + depth]: the newest suffix that passed."""
        self._columns = (
            self._parent, self._child, self._next, self._previous, self._depth, self._count, self._owner, self._start
        )  # fmt: skip
        self._free: list[int] = []

        self._open = 0
        """Serial number of the open text."""
        self._leaves: deque[tuple[int, int]] = deque(maxlen=max_depth)
        """(start, node) of the newest leaves of the open text."""
        # The locus of the pending suffixes of the open text: those that are in the tree already, as part of
        # others. If a suffix is pending, so are all shorter ones: the longest stands for all.
        self._node = _ROOT
        self._length = 0
        self._pending = 0
        """Where the longest of them starts."""
        self._oldest = (0, 0)
        """(text, start) of the suffix that goes next."""
        self._used: set[int] = set()
        """Texts that were of use since they came."""
        self.leaving: list[list[int]] = []
        """Of these, those that have begun to go. Whoever takes them out of here may feed them again."""

    def __len__(self) -> int:
        """Suffixes held, pending ones not counted."""
        return self._count[_ROOT]

    @property
    def num_nodes(self) -> int:
        return len(self._count) - len(self._free)

    @property
    def pending(self) -> tuple[int, int]:
        """Locus of the longest suffix of the open text that occurred before (and is shorter than
        `max_depth`)."""
        return self._node, self._length

    def extend(self, tokens: Iterable[int]) -> None:
        """Appends to the open text."""
        for token in tokens:
            self._append(token)

    def close(self) -> None:
        """Ends the open text: what still grew or was pending ends here, and the next `extend` starts
        another."""
        while self._length:
            node = self._node
            if self._length < self._depth[node]:
                node = self._split(node, self._length)
            self._count_path(node, self._pending)
            self._shorten()
            self._make_room()
        num_tokens = len(self._texts[self._open])
        for start, leaf in self._leaves:
            if start + self.max_depth > num_tokens:  # the others are complete, or even gone
                self._depth[leaf] = num_tokens - start
        self._leaves.clear()
        self._pending = 0
        if num_tokens:
            self._open += 1
            self._texts[self._open] = []

    def walk(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """The locus of `tokens`, or None where they never occurred."""
        node, length = _ROOT, 0
        while length < len(tokens):
            node = self._edges.get(node << _TOKEN_BITS | tokens[length], _ROOT)
            if node == _ROOT:
                return None
            stop = min(self._depth[node], len(tokens))
            begin = self._start[node]
            if self._texts[self._owner[node]][begin + length : begin + stop] != tokens[length:stop]:
                return None
            length = stop
        return node, length

    def longest_suffix(self, context: Sequence[int]) -> tuple[int, int]:
        """The locus of the longest suffix of `context` that the tree holds and that leaves room for a next
        token."""
        # a suffix of what the tree holds is held too: bisect
        found = (_ROOT, 0)
        low, high = 0, min(len(context), self.max_depth - 1)
        while low < high:
            middle = (low + high + 1) // 2
            locus = self.walk(context[len(context) - middle :])
            if locus is None:
                high = middle - 1
            else:
                low, found = middle, locus
        return found

    def holds(self, node: int, tokens: Sequence[int]) -> bool:
        """Whether (node, len(tokens)) is still the locus of `tokens`: evictions and splits may have moved
        it."""
        length = len(tokens)
        if not self._depth[self._parent[node]] < length <= self._depth[node]:
            return length == 0 and node == _ROOT
        begin = self._start[node]
        return self._count[node] > 0 and self._texts[self._owner[node]][begin : begin + length] == tokens

    def step(self, node: int, length: int, token: int) -> int:
        """The node of the locus one `token` further, or 0 where it never followed."""
        if length == self._depth[node]:
            return self._edges.get(node << _TOKEN_BITS | token, _ROOT)
        text, at = self._texts[self._owner[node]], self._start[node] + length
        return node if at < len(text) and text[at] == token else _ROOT

    def count(self, node: int) -> int:
        """Occurrences of every locus on the edge that leads to `node`."""
        return self._count[node]

    def use(self, node: int) -> None:
        """The string of a node was of use: the newest text that it occurs in is to stay."""
        self._used.add(self._owner[node])

    def run(self, node: int, length: int, limit: int) -> list[int]:
        """Up to `limit` tokens that follow a locus without a branch; empty at one (then see `children`).

        Beyond `max_depth` the newest occurrence is followed.
        """
        stop = length + limit
        if self._child[node] or self._depth[node] < self.max_depth:
            stop = min(stop, self._depth[node])
        if stop <= length:
            return []
        begin = self._start[node]
        return self._texts[self._owner[node]][begin + length : begin + stop]

    def children(self, node: int, limit: int) -> list[tuple[int, int, int]]:
        """(count, token, child) for the `limit` children of a node that were used last."""
        texts, owner, start, counts, after = self._texts, self._owner, self._start, self._count, self._next
        depth = self._depth[node]
        found: list[tuple[int, int, int]] = []
        child = self._child[node]
        while child and len(found) < limit:
            found.append((counts[child], texts[owner[child]][start[child] + depth], child))
            child = after[child]
        return found

    def _append(self, token: int) -> None:
        self._texts[self._open].append(token)
        while True:
            node, length = self._node, self._length
            below = self.step(node, length, token)
            if below:
                break
            if length < self._depth[node]:
                node = self._split(node, length)
            self._grow_leaf(node, token)
            self._shorten()
            self._make_room()
            if length == 0:
                return
        self._node, self._length = below, length + 1
        if length + 1 == self.max_depth:
            # complete: it can never differ from the one that is there
            self._count_path(below, self._pending)
            self._shorten()
            self._make_room()

    def _grow_leaf(self, above: int, token: int) -> None:
        """Makes the longest pending suffix a leaf under `above`, reached by `token`."""
        leaf = self._new(above, self.max_depth)
        self._edges[above << _TOKEN_BITS | token] = leaf
        self._link(leaf, above)
        self._leaves.append((self._pending, leaf))
        self._count_path(leaf, self._pending)

    def _count_path(self, node: int, start: int) -> None:
        """Counts suffix `start` of the open text in `node` and all above, which take its name and become the
        children used last."""
        parent, child, counts, owner, begin = self._parent, self._child, self._count, self._owner, self._start
        serial = self._open
        while node:
            counts[node] += 1
            owner[node] = serial
            begin[node] = start
            above = parent[node]
            if child[above] != node:
                self._unlink(node)
                self._link(node, above)
            node = above
        counts[_ROOT] += 1

    def _shorten(self) -> None:
        """The longest pending suffix is in; the next is shorter by one (none is shorter than empty)."""
        self._pending += 1
        length = self._length = max(self._length - 1, 0)
        text, edges, depths = self._texts[self._open], self._edges, self._depth
        start = self._pending
        node, depth = _ROOT, 0
        while depth < length:
            node = edges[node << _TOKEN_BITS | text[start + depth]]
            depth = depths[node]
        self._node = node

    def _make_room(self) -> None:
        """Takes the oldest suffix out if there are too many."""
        if self._count[_ROOT] <= self._max_suffixes:
            return
        serial, start = self._oldest
        text = self._texts[serial]
        full = self.max_depth if serial == self._open else min(self.max_depth, len(text) - start)
        self._oldest = (serial, start + 1)
        if start == 0 and serial in self._used and serial != self._open:
            self.leaving.append(text[:])
        self._count[_ROOT] -= 1
        node = _ROOT
        while self._depth[node] < full and (node == _ROOT or self._count[node]):
            node = self._edges[node << _TOKEN_BITS | text[start + self._depth[node]]]
            self._count[node] -= 1
        if self._count[node]:
            self._join(node)
        else:
            # what is pending occurs wherever the suffix inserted last occurs too, one token later: never in the oldest alone
            assert node != self._node, "the oldest suffix is the only place of what is pending"
            self._remove(node)
        if start + 1 == len(text):
            del self._texts[serial]
            self._used.discard(serial)
            self._oldest = (serial + 1, 0)

    def _split(self, node: int, length: int) -> int:
        """Puts a node at (node, length), inside the edge that leads to `node`; returns it."""
        above = self._parent[node]
        middle = self._new(above, length)
        self._count[middle] = self._count[node]
        self._owner[middle] = self._owner[node]
        self._start[middle] = self._start[node]
        self._replace(node, middle)
        self._edges[self._key(middle, node)] = node
        self._parent[node] = middle
        self._link(node, middle)
        return middle

    def _remove(self, leaf: int) -> None:
        """Takes out a leaf that no suffix ends in any more."""
        above = self._parent[leaf]
        del self._edges[self._key(above, leaf)]
        self._unlink(leaf)
        self._release(leaf)
        self._join(above)

    def _join(self, node: int) -> None:
        """Takes out a node that neither branches nor is the end of a suffix."""
        child = self._child[node]
        if node == _ROOT or child == 0 or self._next[child] or self._count[child] < self._count[node]:
            return
        del self._edges[self._key(node, child)]
        self._parent[child] = self._parent[node]
        self._replace(node, child)
        if self._node == node:
            self._node = child
        self._release(node)

    def _key(self, above: int, node: int) -> int:
        """The key of the edge from `above` to `node`."""
        return above << _TOKEN_BITS | self._texts[self._owner[node]][self._start[node] + self._depth[above]]

    def _new(self, above: int, depth: int) -> int:
        if self._free:
            node = self._free.pop()
        else:
            node = len(self._count)
            for column in self._columns:
                column.append(0)
        self._parent[node] = above
        self._depth[node] = depth
        return node

    def _release(self, node: int) -> None:
        self._depth[node] = self._count[node] = self._child[node] = 0
        self._free.append(node)

    def _link(self, node: int, above: int) -> None:
        """Makes `node` the first child of `above`."""
        head = self._child[above]
        self._previous[node], self._next[node] = 0, head
        if head:
            self._previous[head] = node
        self._child[above] = node

    def _unlink(self, node: int) -> None:
        before, after = self._previous[node], self._next[node]
        if before:
            self._next[before] = after
        else:
            self._child[self._parent[node]] = after
        if after:
            self._previous[after] = before

    def _replace(self, node: int, other: int) -> None:
        """Puts `other` where `node` was among the children of its parent, edge included."""
        above = self._parent[node]
        self._edges[self._key(above, node)] = other
        before, after = self._previous[node], self._next[node]
        self._previous[other], self._next[other] = before, after
        if before:
            self._next[before] = other
        else:
            self._child[above] = other
        if after:
            self._previous[after] = other
