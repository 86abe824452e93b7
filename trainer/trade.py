"""Trade: what is particular to one kind of speculator while it is trained. Feed, gate, registry and runs are the same for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from pipelines.checkpoint import Checkpoint, Form
from trainer.champion import Champion
from trainer.in_training import InTraining
from trainer.judge import Drafter
from trainer.kept import Kept

Config = Mapping[str, int | float | str | bool]


class Draw(Protocol):
    """Draws traces that are to be studied just now and whose lessons are known."""

    def __call__(self, count: int) -> Sequence[Kept]:
        """So many draws, with replacement."""

    def put_back(self, trace: Kept) -> None:
        """Drawn, and not taught: it comes next, as long as it is to be studied."""


class Trade(Protocol):
    """One kind of speculator: what training starts from, what a slice of it teaches, and how a version is judged."""

    @property
    def kind(self) -> str:
        """Of the slot."""

    @property
    def static(self) -> Checkpoint | None:
        """What servers start with, where there is anything for this target."""

    @property
    def floor(self) -> Champion:
        """What training starts from, and what has to be beaten, where nothing was published: `static`, or untrained weights."""

    @property
    def distiller(self) -> InTraining:
        """The weights in training; at first those of `floor`."""

    @property
    def budget(self) -> int:
        """Nodes per step at which versions are judged."""

    @property
    def form(self) -> Form:
        """What the nodes form."""

    def begin(self, config: Config, weights: Mapping[str, Tensor] | None = None) -> None:
        """Starts training again from weights, or from none yet, since they are about to be resumed.

        Raises BadModel or UnsupportedModel where config and weights make no model.
        """

    def teach(self, draw: Draw) -> int:
        """Teaches what fits one slice; returns the rows that were taught."""

    def drafter(self, config: Config, weights: Mapping[str, Tensor]) -> Drafter:
        """A version at work, alone. Raises as `begin` does."""
