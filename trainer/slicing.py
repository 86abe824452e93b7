"""Slicing: work as generators that stop wherever something more urgent may come first."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

_T = TypeVar("_T")


def finish(slices: Generator[object, None, _T]) -> _T:
    """Does all the slices at once; returns what they come to."""
    while True:
        try:
            next(slices)
        except StopIteration as done:
            result: _T = done.value
            return result
