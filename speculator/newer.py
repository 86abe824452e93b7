"""Newer: the version of a source's weights, and the next one, prepared by a thread, to be taken between two steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from speculator.preparing import Preparing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unfit:
    """Weights that fitted, and could not be prepared all the same: those before stay in use."""

    source: str
    version: str
    why: str


class Newer(Generic[T]):
    """source: its name. version: of the weights that it begins with."""

    def __init__(self, source: str, version: str) -> None:
        self.version = version
        """In use."""
        self._source = source
        self._given = version
        """The newest, in use or not."""
        self._preparing: Preparing[tuple[str, T]] = Preparing(f"weights of {source} not taken")

    @property
    def settled(self) -> bool:
        """Whether the weights that were given last are in use."""
        return self.version == self._given

    def give(self, version: str, prepare: Callable[[], T]) -> None:
        """Has newer ones prepared."""
        self._given = version
        self._preparing.want(lambda: (version, prepare()))

    def take(self, use: Callable[[T], None]) -> Unfit | None:
        """Puts to use what is prepared by now, if anything is; what it was told, once, if the newest could not be prepared."""
        found = self._preparing.taken()
        if found is not None:
            self.version, prepared = found
            use(prepared)
        elif self._preparing.failure and not self._preparing.busy:
            return Unfit(self._source, self._given, self._preparing.failure)
        return None
