"""Heard: what the target's layers said along a text, until a source that needs it has read it."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

MOST_WAITING = 1024
"""Places of a text that wait to be read while nobody asks for drafts; older ones are let go, and never read."""


class Heard:
    """States of the places of one text in order, the newest of them. Legend: n places, F numbers of each."""

    def __init__(self) -> None:
        self.stop = 0
        """Place after the last one heard."""
        self._pieces: deque[Tensor] = deque()
        self.start = 0
        """First place there is."""

    def hear(self, start: int, states: Tensor) -> bool:
        """Takes the states [n, F] from place `start` on. Where that is not the next one, the text is heard anew; returns that."""
        anew = start != self.stop
        if anew:
            self._pieces.clear()
            self.start = start
        self.stop = start + len(states)
        # a copy of what is left of a long piece, or all of it would be held
        kept = states if len(states) <= MOST_WAITING else states[-MOST_WAITING:].clone()
        self._pieces.append(kept)
        self.start += len(states) - len(kept)
        while self.stop - self.start - len(self._pieces[0]) >= MOST_WAITING:
            self.start += len(self._pieces.popleft())
        return anew

    def read(self, start: int, stop: int) -> Tensor:
        """[stop - start, F] of places that are there; those before them are let go."""
        assert self.start <= start < stop <= self.stop
        joined = torch.cat(tuple(self._pieces))[start - self.start :]
        self._pieces = deque([joined])
        self.start = start
        return joined[: stop - start]
