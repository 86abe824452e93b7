"""TextDistiller: weights that learn from whole texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from trainer.excerpt import Excerpt
from trainer.in_training import InTraining

E = TypeVar("E", bound=Excerpt)


class TextDistiller(InTraining, Generic[E]):
    """Base of the distillers of draft models and EAGLE layers."""

    @abstractmethod
    def teach(self, excerpts: Sequence[E]) -> None:
        """Adds the gradient of some texts: one slice of work."""

    def averaged(self) -> dict[str, Tensor]:
        """In bfloat16: rounding them changes no figure, and they are read, stored and handed on at half the cost."""
        return {name: mean.to(torch.bfloat16) for name, mean in self._mean.items()}
