"""PrefixCache: pages that outlive the sequence that wrote them, for whoever comes with the same text.

A radix tree over whole pages, one for each tenant, since who waits less for a text could tell that somebody else has sent it
(RadixAttention, arXiv 2312.07104, with a page as the unit of an edge). The end of a prompt, which fills no page, is known too:
its page is written on by whoever read it, so others copy what they need of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from models.pages import PagePool
from speculator.batch import Sequence


@dataclass(slots=True, eq=False)
class _Node:
    """A page of tokens behind those of its parent."""

    parent: _Node | None = None
    page: int = -1
    tokens: tuple[int, ...] = ()
    """All that it holds; none yet while it is not full."""
    tail: tuple[int, ...] = ()
    """The end of a prompt that it begins with, if one ended there."""
    children: dict[tuple[int, ...], _Node] = field(default_factory=dict)
    """By their tokens: full pages."""
    tails: dict[tuple[int, ...], _Node] = field(default_factory=dict)
    """By their tail: pages that were full later, or never."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The last tokens of a prompt but one, at the beginning of a page."""

    page: int
    num_tokens: int


class PrefixCache:
    """Holds every page that was written in full, beside the sequences that use it, until room is wanted for others.

    Sequences take pages from the pool and give them back here, so that what is held by nobody else is known at any time.
    """

    def __init__(self, pool: PagePool) -> None:
        self._pool = pool
        self._roots: dict[str, _Node] = {}
        self._nodes: OrderedDict[int, _Node] = OrderedDict()
        """By page; the one used last comes last, and among those that nobody uses a parent after its children."""
        self._places: dict[int, _Node] = {}
        """By sequence, the node that its first pages lead to: those it has adopted or handed in."""
        self._depths: dict[int, int] = {}
        self.num_idle = 0
        """Pages that no sequence holds: they can be had at once."""

    def __len__(self) -> int:
        return len(self._nodes)

    def begin(self, sequence: Sequence) -> None:
        """The sequence starts to read, from its first token."""
        self._places[sequence.id] = self._roots.setdefault(sequence.tenant, _Node())
        self._depths[sequence.id] = 0

    def known(self, sequence: Sequence) -> tuple[int, int]:
        """How many pages of its text a sequence that waits would find here, and how many of those nobody holds."""
        found = list(self._ahead(self._roots.get(sequence.tenant, _Node()), sequence, 0))
        return len(found), sum(self._pool.holders(node.page) == 1 for node in found)

    def adopt(self, sequence: Sequence) -> int:
        """Gives a sequence the pages that hold what comes next of its text; returns how many tokens that spares it."""
        num_pages = self._depths[sequence.id]
        if sequence.num_written != num_pages * self._pool.page_size or len(sequence.pages) != num_pages:
            return 0
        found = list(self._ahead(self._places[sequence.id], sequence, num_pages))
        if not found:
            return 0
        self.num_idle -= sum(self._pool.holders(node.page) == 1 for node in found)
        pages = [node.page for node in found]
        self._pool.share(pages)
        sequence.pages.extend(pages)
        sequence.num_written += len(pages) * self._pool.page_size
        self._places[sequence.id] = found[-1]
        self._depths[sequence.id] += len(pages)
        return len(pages) * self._pool.page_size

    def next_page(self, sequence: Sequence) -> Hashable | None:
        """What names the page that a sequence is about to write, the same for whoever is about to write the same; None where it
        will not wait for another's: what is left to read is of no use to others, or known, or somebody was faster with it."""
        size, depth = self._pool.page_size, self._depths[sequence.id]
        num_left = sequence.num_written + sequence.num_to_read - depth * size
        if sequence.telling or len(sequence.pages) > depth + 1 or num_left < (2 if sequence.num_output == 0 else size):
            return None
        if self._tail(sequence) is not None:
            return None
        return id(self._places[sequence.id]), tuple(sequence.tokens[depth * size : depth * size + min(num_left, size)])

    def tail(self, sequence: Sequence) -> Tail | None:
        """Where to copy all that is left of its prompt from, but for the last token, whose scores the prompt was sent for; None:
        it is to be read."""
        node = self._tail(sequence)
        if node is None:
            return None
        self._nodes.move_to_end(node.page)
        return Tail(node.page, sequence.num_to_read - 1)

    def hand_in(self, sequence: Sequence) -> None:
        """Takes up the pages that the sequence has written in full since the last time."""
        size, place = self._pool.page_size, self._places[sequence.id]
        depth = self._depths[sequence.id]
        while (depth + 1) * size <= sequence.num_written:
            tokens, page = tuple(sequence.tokens[depth * size : (depth + 1) * size]), sequence.pages.ids[depth]
            if tokens in place.children:
                return  # somebody was faster with the same text; what follows hangs on a page that this sequence does not hold
            node = self._kept(page, place)
            node.tokens = tokens
            place.children[tokens] = place = node
            depth += 1
            self._places[sequence.id], self._depths[sequence.id] = place, depth
        if depth * size + 1 < sequence.num_prompt <= sequence.num_written:
            self._hand_in_tail(place, tuple(sequence.tokens[depth * size : sequence.num_prompt]), sequence.pages.ids[depth])

    def _hand_in_tail(self, place: _Node, tail: tuple[int, ...], page: int) -> None:
        if tail not in place.tails:
            node = self._kept(page, place)
            node.tail, place.tails[tail] = tail, node

    def end(self, sequence: Sequence) -> None:
        """The sequence gives its pages back; what it has handed in stays."""
        node: _Node | None = self._places.pop(sequence.id)
        del self._depths[sequence.id]
        while node is not None and node.parent is not None:
            self._nodes.move_to_end(node.page)
            node = node.parent
        self._pool.release(sequence.pages.ids)
        self.num_idle += sum(page in self._nodes and self._pool.holders(page) == 1 for page in sequence.pages.ids)

    def evict(self, count: int) -> None:
        """Gives up to `count` pages that no sequence holds back to the pool, those used longest ago first."""
        for node in list(islice(self._idle(), count)):
            self._drop(node)

    def forget(self, tenant: str) -> None:
        """Drops what a tenant's sequences have written; of those still running, when room is wanted after their end."""
        root = self._roots.pop(tenant, None)
        for node in list(self._idle()):
            if root is not None and _top(node) is root:
                self._drop(node)

    def _idle(self) -> Iterator[_Node]:
        return (node for node in self._nodes.values() if self._pool.holders(node.page) == 1)

    def _drop(self, node: _Node) -> None:
        assert not {**node.children, **node.tails}, "a page was used after one that leads to it"
        assert node.parent is not None
        node.parent.children.pop(node.tokens, None)
        node.parent.tails.pop(node.tail, None)
        del self._nodes[node.page]
        self._pool.release([node.page])
        self.num_idle -= 1

    def _kept(self, page: int, parent: _Node) -> _Node:
        """The node of a page, which is kept from now on."""
        if page not in self._nodes:
            self._nodes[page] = _Node(parent, page)
            self._pool.share([page])
        return self._nodes[page]

    def _tail(self, sequence: Sequence) -> _Node | None:
        """The page that begins with all that is left of its prompt, if there is one and nothing of it was read yet."""
        size, depth = self._pool.page_size, self._depths[sequence.id]
        begun = sequence.num_output > 0 or len(sequence.pages) > depth
        if begun or sequence.telling or not 1 < sequence.num_to_read <= size:
            return None
        tail, place = tuple(sequence.tokens[depth * size :]), self._places[sequence.id]
        return place.tails.get(tail) or place.children.get(tail)

    def _ahead(self, node: _Node, sequence: Sequence, num_pages: int) -> Iterator[_Node]:
        """The nodes that follow `node`, which is `num_pages` deep, along what is left of the text to read. A token is left even
        where all is known: its scores are what the prompt was sent for."""
        if sequence.telling:
            return
        size, tokens = self._pool.page_size, sequence.tokens
        last = sequence.num_written + sequence.num_to_read - (sequence.num_output == 0)
        for start in range(num_pages * size, last - size + 1, size):
            child = node.children.get(tuple(tokens[start : start + size]))
            if child is None:
                return
            yield child
            node = child


def _top(node: _Node) -> _Node:
    while node.parent is not None:
        node = node.parent
    return node
