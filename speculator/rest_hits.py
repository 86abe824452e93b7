"""Hits: where a context occurred in a datastore, and the tree of what followed there, opened as a draft grows along it."""

from __future__ import annotations

from collections import defaultdict

from speculator.suffix_array import SuffixArray

_MOST_PLACES = 32
"""Places that are looked at: REST looks at up to 5,000, but what it counts hardly changes."""


class Hits:
    """`speculator.suffix_growth.Occurrences` of one match. Node 0 stands for all its places, a child for those of its parent's at
    which one token followed."""

    def __init__(self, store: SuffixArray, start: int, stop: int, length: int) -> None:
        """start, stop, length: as `SuffixArray.longest_suffix` gives them."""
        self._store = store
        self._nodes = [store.places(start, stop, _MOST_PLACES)]
        self._lengths = [length]

    def count(self, node: int) -> int:
        """Places of a node."""
        return len(self._nodes[node])

    def run(self, node: int, length: int, limit: int) -> list[int]:
        """Up to `limit` tokens that follow the first `length` of a node's; empty where it has several places (then see
        `children`)."""
        places = self._nodes[node]
        return self._store.run(places[0] + length, limit) if len(places) == 1 else []

    def children(self, node: int, limit: int) -> list[tuple[int, int, int]]:
        """(count, token, child) for the `limit` tokens that followed most often."""
        places, length = self._nodes[node], self._lengths[node]
        if len(places) == 1:
            return []  # its run has ended
        followed = defaultdict[int, list[int]](list)
        for place, token in zip(places, self._store.tokens([place + length for place in places]), strict=True):
            if token is not None:
                followed[token].append(place)
        most = sorted(followed.items(), key=lambda each: -len(each[1]))[:limit]
        found = []
        for token, those in most:
            found.append((len(those), token, len(self._nodes)))
            self._nodes.append(those)
            self._lengths.append(length + 1)
        return found
