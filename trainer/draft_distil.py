"""Distillation of a draft language model: it learns to give the target's own distribution at every token of an answer.

The loss is KL(target || draft) at the rows of the answer, the prompt being context. Where `hybrid` is set it is the LK hybrid:
where the two overlap already, a = sum of min(p, q), the total variation 1 - a takes over from the divergence by
1 - exp(-hybrid a), the weights taken as constants. Traffic is the target's own text whoever drafted it, so old traces
need no importance weights.

As in `trainer.distil`, products with the vocabulary run in the dtype the machine is fastest in, softmax and loss in float32, and
the gradient at the logits is written out; autograd sees the layers alone.

Chosen by the share of the target's choices, greedy and with shared noise at 0.8, that the draft makes too on fresh prompts
(bundled target, 4,000 answers of stories and dialogue at 0.8, draft of 1.4 M weights that starts from the target's embeddings,
one CPU thread on a machine that others shared; the rate falls to nothing over the last 40 %):

                                                          stories          dialogue        seconds
    300 steps of 512 rows                                0.701  0.726    0.624  0.653        103
    the same, LK hybrid 3                                0.693  0.711    0.610  0.642         94
    the same, hybrid 3 over the second half              0.701  0.727    0.615  0.648         92
    the same, 512 common + 512 sampled (else 1,024 each) 0.696  0.716    0.597  0.636         62
    600 steps of 256 rows                                0.718  0.745    0.640  0.690         76
    the same, learning rate 2e-3 (else 3e-3)             0.723  0.735    0.636  0.672         76
    the same, 4e-3                                       0.723  0.744    0.652  0.677         73
    1,200 steps of 128 rows                              0.722  0.741    0.660  0.681        110
    3,000 steps of 256 rows                              0.769  0.787    0.739  0.783        313
    and 1,200 more at 1e-3                               0.771  0.793    0.744  0.793        128
    1,200 more with hybrid 3                             0.771  0.792    0.756  0.791        141
    1,200 more with hybrid 10                            0.773  0.792    0.751  0.792        143

Shares are good to 0.01. The hybrid is no better here, early or late; the whole vocabulary costs half as much again a step.

Online, at a constant rate, by tokens per step of a chain of four on 80 kept answers, after so many seconds of one CPU thread (the
bundled draft, which knows stories and dialogue, on 1,000 answers of a domain that it had not seen; sql at temperature 0 and 0.8,
before: 1.01 and 1.06; math, loops left out, before: 1.25 and 1.31; 512 common and 512 sampled tokens):

                               sql 4 s      sql 12 s     sql 40 s    math 4 s    math 12 s    math 40 s
    256 rows, rate 5e-4       1.39 1.27    1.73 1.69    1.93 1.92    1.79 1.61    2.06 1.84    2.52 2.17
    256 rows, 1e-3            1.65 1.57    1.83 1.81    2.01 2.02    1.91 1.70    2.18 1.97    2.63 2.23
    256 rows, 2e-3            1.73 1.69    1.90 1.86    2.06 2.04    1.91 1.78    2.29 2.03    2.71 2.25
    256 rows, 4e-3            1.72 1.73    1.97 1.91    2.04 2.01    2.02 1.76    2.29 1.95    2.60 2.19
    128 rows, 2e-3                         1.94 1.86    2.01 2.01                 2.29 2.03    2.66 2.25
    512 rows, 2e-3                         1.82 1.79    2.02 2.03                 2.12 1.98    2.65 2.27
    256 rows, 2e-3, hybrid 3               1.87 1.81    2.01 1.94                 2.12 2.01    2.64 2.21

So what suits heads suits drafts: 128 rows, 2e-3. The hybrid is no better here either; it comes into its own only where draft
and target agree already. Forty seconds were two readings of math and five of sql, whose answers are short.

From layers of the target (6.3 and 7.9 M weights) in place of three new ones (4.4 M), on 2,400 answers of sql, math, dialogue and
code, 512 tokens of context, all of the vocabulary; share of the target's likeliest tokens that are the draft's too, on answers
kept aside, after so many minutes of one thread of two busy ones:

                                    0 min      2 min      4 min      6 min
    three new layers, 3e-3          0.029      0.573      0.630      0.670
    layers 0 and 5, 1e-3            0.349      0.692      0.704      0.721
    layers 0, 1 and 5, 2e-3         0.541      0.712      0.742      0.758
    layers 0, 1 and 5, 1e-3         0.541      0.754      0.773      0.796

Legend: B texts, T tokens of each, N rows taught, D hidden size of the draft, H that of the target, S columns of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.draft import DraftModel
from trainer.excerpt import Excerpt, states_at
from trainer.in_training import Pace
from trainer.pull import pulled
from trainer.shortlist import Shortlist
from trainer.text_distil import TextDistiller


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftRecipe(Pace):
    """How a step is made."""

    learning_rate: float = 3e-3
    rows_per_step: int = 256
    warmup_steps: int = 30
    hybrid: float = 0.0
    """How soon the total variation takes over from the divergence; 0: never."""


class DraftDistiller(TextDistiller[Excerpt]):
    """Trains a draft model slice by slice: `teach` adds the gradient of some texts, `step` moves the weights.

    shortlist: over the target's unembedding. `loss` is the divergence in nats, whatever was optimised.
    """

    recipe: DraftRecipe

    def __init__(self, draft: DraftModel, shortlist: Shortlist, recipe: DraftRecipe) -> None:
        super().__init__()
        self.shortlist = shortlist
        self.recipe = recipe
        self.restart(draft)

    @property
    def config(self) -> dict[str, int | float | str | bool]:
        return dict(self.draft.config)

    def restart(self, draft: DraftModel) -> None:
        """Goes on with this draft, nothing remembered of the others. It is trained in place."""
        self.draft = draft.train().requires_grad_(True)
        self._begin(draft.tensors.items())

    def teach(self, excerpts: Sequence[Excerpt]) -> None:
        columns = self.shortlist.draw()
        dtype = columns.unembedding.dtype
        with torch.autocast(self.draft.device.type, dtype, enabled=dtype != torch.float32):
            states = states_at(self.draft, excerpts)  # [N, D]
        hidden = torch.cat([excerpt.hidden for excerpt in excerpts])  # [N, H]
        own = columns.of(self.draft.output_embeddings())
        pull = pulled(states.detach().to(dtype), hidden, own, columns, hybrid=self.recipe.hybrid)
        torch.autograd.backward(states, pull.at_states.to(states.dtype))
        columns.add_to(self.draft.output_embeddings(), pull.at_own)
        self._taught(len(hidden), pull.divergence)
