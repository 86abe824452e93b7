"""InTraining: weights that gradients move: the optimiser's side of a distiller, whatever is distilled.

A step whose gradient or loss is not finite changes nothing and is counted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.shortlist import Shortlist

MAX_SKIPPED = 20
"""Steps in a row that were not finite, after which the weights are given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a step is made, whatever it teaches."""

    learning_rate: float
    rows_per_step: int
    max_norm: float = 1.0
    """Gradients are clipped to this norm."""
    warmup_steps: int = 10
    averaging: float = 0.98
    """Weight the running mean of the weights keeps with each step; the mean is what is judged and published."""


class InTraining(ABC):
    """Base of the distillers: their `teach` adds gradients and calls `_taught`, `step` moves the weights."""

    recipe: Pace
    shortlist: Shortlist
    _optimizer: torch.optim.Optimizer
    _rows: int
    _divergence: float

    def __init__(self) -> None:
        self.num_steps = 0
        self.num_skipped = 0
        self.loss = 0.0
        """Of the last step in nats: mean over rows of what was taught."""

    @property
    def ready(self) -> bool:
        """Whether a step's worth of rows is there."""
        return self._rows >= self.recipe.rows_per_step

    @property
    @abstractmethod
    def config(self) -> dict[str, int | float | str | bool]:
        """Of the model whose weights these are: what rebuilds it."""

    @property
    def num_tries(self) -> int:
        """Steps made or skipped."""
        return self.num_steps + self.num_skipped

    @torch.no_grad()
    def step(self) -> bool:
        """Moves the weights by what was taught since the last step; False: not finite, nothing moved."""
        weights = list(self._weights.values())
        for weight in weights:
            if weight.grad is not None:
                weight.grad /= self._rows
        norm = torch.nn.utils.clip_grad_norm_(weights, self.recipe.max_norm)
        loss = self._divergence / self._rows
        self._rows, self._divergence = 0, 0.0
        finite = math.isfinite(norm) and math.isfinite(loss)
        if finite:
            self._move(loss)
            self.skipped_in_a_row = 0
        else:
            self.num_skipped += 1
            self.skipped_in_a_row += 1
        self._optimizer.zero_grad()
        return finite

    def averaged(self) -> dict[str, Tensor]:
        """Copies of the running mean of the weights: what is judged and published."""
        return {name: tensor.clone() for name, tensor in self._mean.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that a later life needs to go on from here, but `age`."""
        held: dict[str, Tensor] = {}
        for name in self._weights:
            for kind, tensor in self._kinds(name).items():
                held[f"{kind}.{name}"] = tensor.detach()
        return held

    @torch.no_grad()
    def resume(self, tensors: Mapping[str, Tensor], age: int) -> None:
        """Goes on from what `tensors` gave, for weights of the same shapes. Raises KeyError or RuntimeError otherwise."""
        for name, weight in self._weights.items():
            for kind, tensor in self._kinds(name).items():
                tensor.copy_(tensors[f"{kind}.{name}"])
            self._optimizer.state[weight]["step"].fill_(age)
        self.age = age

    def _begin(self, weights: Iterable[tuple[str, Tensor]], multiples: Mapping[str, float] | None = None) -> None:
        """These weights from now on, nothing remembered of any others.

        multiples: of the learning rate, for those that have another.
        """
        self._weights = dict(weights)
        self.age = 0
        """Steps since the last restart."""
        self.skipped_in_a_row = 0
        self._rows, self._divergence = 0, 0.0
        self._mean = {name: weight.detach().clone() for name, weight in self._weights.items()}
        # fused: 0.6 ms for 0.6 M weights on one CPU thread, against 4.2 ms
        self._optimizer = torch.optim.AdamW(
            list(_groups(self._weights, multiples or {})),
            self.recipe.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=0.0,
            fused=True,
        )
        for weight in self._weights.values():
            self._optimizer.state[weight] = {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def _taught(self, num_rows: int, divergence: float) -> None:
        """The gradient of so many rows, whose losses sum to `divergence`, was added."""
        self._rows += num_rows
        self._divergence += divergence

    def _kinds(self, name: str) -> dict[str, Tensor]:
        weight = self._weights[name]
        moments = self._optimizer.state[weight]
        return {
            "weight": weight,
            "mean": self._mean[name],
            "moment1": moments["exp_avg"],
            "moment2": moments["exp_avg_sq"],
        }

    def _move(self, loss: float) -> None:
        recipe = self.recipe
        for group in self._optimizer.param_groups:
            group["lr"] = group["multiple"] * recipe.learning_rate * min(1.0, (self.age + 1) / recipe.warmup_steps)
        self._optimizer.step()
        self.age += 1
        self.num_steps += 1
        self.loss = loss
        # a mean over the steps there are, until there are more than it remembers
        keep = min(recipe.averaging, self.age / (self.age + 9))
        for name, weight in self._weights.items():
            self._mean[name].lerp_(weight, 1 - keep)


def _groups(weights: Mapping[str, Tensor], multiples: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """The optimiser's: weights of one and the same multiple of the learning rate."""
    by_multiple: dict[float, list[Tensor]] = {}
    for name, weight in weights.items():
        by_multiple.setdefault(multiples.get(name, 1.0), []).append(weight)
    for multiple, each in by_multiple.items():
        yield {"params": each, "multiple": multiple}
