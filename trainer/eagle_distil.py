"""Distillation of an EAGLE layer: unrolled over its own outcome, it learns to give the target's own distribution.

(The training-time test, EAGLE-3, arXiv 2503.01840, section 3.2: step k goes on from what the layer itself gave k times over. The
loss is KL(target || layer), weighted 0.8^k. Nothing is masked for lying outside a draft vocabulary: a few columns stand for all
of the vocabulary, see `trainer.shortlist`.) Traffic is the target's own text whoever drafted it, so old traces need no weights.

As in `trainer.distil`, products run in the dtype the machine is fastest in, softmax and loss in float32, and the gradient at the
logits is written out; autograd sees the layer alone.

Chosen by tokens per step, trees of 16 nodes, on answers of sql, math and dialogue kept aside (bundled target, 1,200 answers,
150 s of one CPU thread on a machine that others kept busy; all three domains in one figure, from 32 answers, good to 0.1 or so):

    learning rate 1e-3          3.12        4e-3                                        2.65
    2e-3                        3.05        2e-3, 64 rows a step (else 128), 60 s       2.53 (128 rows: 2.52)

A parallel layer, in the same way: 2.49 after 150 s at 1e-3, in which it takes a third more steps; after 60 s 2.21, at 2e-3 2.03,
and 2.16 where the masks' state starts at a tenth of its size.

Legend: B texts, T tokens of each, W of them that further steps go on with, N rows taught, L layers read, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.eagle import EagleLayer
from trainer.excerpt import Excerpt, cut
from trainer.in_training import Pace
from trainer.kept import Kept
from trainer.lessons import Lesson
from trainer.pull import gradient_at
from trainer.shortlist import Columns, Shortlist
from trainer.sizing import padded
from trainer.text_distil import TextDistiller

NUM_STEPS = 5
"""Of unrolling: as many as trees are deep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EagleRecipe(Pace):
    """How a step is made."""

    learning_rate: float = 2e-3
    rows_per_step: int = 128
    num_steps: int = NUM_STEPS
    depth_decay: float = 0.8


@dataclass(frozen=True, slots=True)
class LayeredExcerpt(Excerpt):
    """A text as the layer reads it, and what the target thought at its last rows."""

    features: Tensor
    """[T, L H] the target's layers at the place before each token; zeros before the first of a text."""

    @classmethod
    def of(cls, trace: Kept, lesson: Lesson, max_tokens: int, generator: torch.Generator | None = None) -> LayeredExcerpt:
        """A trace's answer behind its prompt; see `trainer.excerpt.cut`."""
        assert lesson.layers is not None, "the teacher was asked for none"
        read, taught = cut(trace, max_tokens, generator)
        before = lesson.layers[max(0, read.start - 1) : read.stop - 1]
        features = before if read.start else torch.cat((torch.zeros_like(lesson.layers[:1]), before))
        return cls(torch.tensor(trace.tokens[read]), lesson.hidden[taught], features)

    def rows(self, start: int, stop: int) -> LayeredExcerpt:
        """Its tokens before `stop`, and what was thought at those from `start` on."""
        first = len(self.tokens) - self.num_taught
        return LayeredExcerpt(self.tokens[:stop], self.hidden[start - first : stop - first], self.features[:stop])


@dataclass(frozen=True, slots=True)
class Unrolling:
    """Excerpts side by side, right-aligned."""

    tokens: Tensor
    """[B, T]"""
    features: Tensor
    """[B, T, L H]"""
    first: Tensor
    """[B] rows of each that only fill it up."""
    last: int
    """W: those taught, and as many before them as there are steps."""
    taught: Tensor
    """[B, W] bool: rows with a state of the target's."""

    @classmethod
    def of(cls, excerpts: Sequence[LayeredExcerpt], num_steps: int) -> Unrolling:
        length = padded(max(len(each.tokens) for each in excerpts))
        last = min(length, padded(max(len(each.hidden) for each in excerpts) + num_steps))
        features = excerpts[0].features
        tokens = torch.zeros(len(excerpts), length, dtype=torch.int64)
        joined = features.new_zeros(len(excerpts), length, features.shape[1], dtype=torch.float32)
        taught = torch.zeros(len(excerpts), last, dtype=torch.bool)
        for row, each in enumerate(excerpts):
            tokens[row, length - len(each.tokens) :] = each.tokens
            joined[row, length - len(each.tokens) :] = each.features
            taught[row, last - len(each.hidden) :] = True
        first = torch.tensor([length - len(each.tokens) for each in excerpts])
        device = features.device
        return cls(tokens.to(device), joined, first.to(device), last, taught.to(device))

    def states(self, layer: EagleLayer, num_steps: int) -> Tensor:
        """[K, N, H] at the rows taught, step by step."""
        steps = layer.unrolled(self.tokens, self.features, num_steps, first=self.first, last=self.last)
        return torch.stack([each[self.taught] for each in steps])

    def reached(self, num_steps: int) -> Tensor:
        """[K, N] bool: whether a row has as many rows of text before it as there were steps."""
        length = self.tokens.shape[1]
        rows = torch.arange(length - self.last, length, device=self.first.device) - self.first[:, None]
        return torch.stack([(rows >= step)[self.taught] for step in range(num_steps)])


class EagleDistiller(TextDistiller[LayeredExcerpt]):
    """Trains a layer slice by slice: `teach` adds the gradient of some texts, `step` moves the weights.

    shortlist: over the target's unembedding. `loss` is the divergence in nats: mean over rows of the weighted sum over steps.
    """

    recipe: EagleRecipe

    def __init__(self, layer: EagleLayer, shortlist: Shortlist, recipe: EagleRecipe) -> None:
        super().__init__()
        self.shortlist = shortlist
        self.recipe = recipe
        self.restart(layer)

    @property
    def config(self) -> dict[str, int | float | str | bool]:
        return dict(self.layer.config)

    def restart(self, layer: EagleLayer) -> None:
        """Goes on with this layer, nothing remembered of the others. It is trained in place."""
        self.layer = layer.train().requires_grad_(True)
        self._begin(layer.tensors.items())

    def teach(self, excerpts: Sequence[LayeredExcerpt]) -> None:
        columns, num_steps = self.shortlist.draw(), self.recipe.num_steps
        dtype = columns.unembedding.dtype
        unrolling = Unrolling.of(excerpts, num_steps)
        with torch.autocast(unrolling.tokens.device.type, dtype, enabled=dtype != torch.float32):
            states = unrolling.states(self.layer, num_steps)
        hidden = torch.cat([each.hidden for each in excerpts])
        gradient, divergence = self._gradient(states.detach(), hidden, columns, unrolling.reached(num_steps))
        torch.autograd.backward(states, gradient.to(states.dtype))
        self._taught(len(hidden), divergence)

    def _gradient(self, states: Tensor, hidden: Tensor, columns: Columns, reached: Tensor) -> tuple[Tensor, float]:
        """Gradient [K, N, H] of the summed loss at the layer's states, and that loss."""
        target_logits = columns.logits(hidden)
        gradient = torch.empty_like(states, dtype=torch.float32)
        divergence = torch.zeros((), device=states.device)
        for step, each in enumerate(states):
            weight = self.recipe.depth_decay**step * reached[step]
            change, divergences = gradient_at(columns.logits(each), target_logits, 0.0)
            divergence += (weight * divergences).sum()
            change = change.mul_(weight.unsqueeze(-1)).to(columns.unembedding.dtype)
            gradient[step] = torch.mm(change, columns.unembedding).float()
        return gradient, divergence.item()
