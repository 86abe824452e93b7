"""Hydra heads as a source of drafts: each head sees the tokens drafted before it, so a tree grows level by level.

(Hydra, arXiv 2402.05109.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf

import torch
from torch import Tensor

from kernels.gumbel.key import stream
from kernels.hydra import Asked, Desk, Limits, Rules
from models.hydra import HydraHeads, HydraSteps
from speculator.drafts import Tree, unpacked
from speculator.growth import FEWEST_CHANCE, Growth, StateGrowth
from speculator.guesses import Choice
from speculator.heads import NUM_CANDIDATES, HeadsSpeculator, Root
from speculator.kinds import HYDRA
from speculator.law import noise_of
from speculator.protocol import Budget
from speculator.vocabulary import DraftVocabulary

WIDTH = 4
"""Nodes read at each level below the root, for one sequence."""
_RECENT = 0.1
"""Weight of the newest pass in the running mean."""


class HydraSpeculator(HeadsSpeculator[HydraHeads]):
    """A pass of the heads for each level, over the nodes of all sequences that are worth reading."""

    KIND = HYDRA

    _packed: HydraSteps
    _pass_seconds = 0.0
    """What a level took lately."""

    def packed(self, weights: Mapping[str, Tensor]) -> HydraSteps:
        return HydraSteps(weights, self._heads.embeddings)

    @torch.inference_mode()
    def trees(self, hidden: Tensor, roots: SequenceOf[Root]) -> list[Tree]:
        desk, vocabulary = self._packed.desk, self._vocabulary
        if desk is None or vocabulary is None:
            return self.grown(hidden, roots)
        # C knows no filters, and their answers are few
        quick, slow = ([at for at, root in enumerate(roots) if root.choice[0].filtered is each] for each in (False, True))
        found: dict[int, Tree] = {}
        if quick:
            grown = self._grown_in_c(desk, vocabulary, _some(hidden, quick), [roots[at] for at in quick])
            found.update(zip(quick, grown, strict=True))
        if slow:
            found.update(zip(slow, self.grown(_some(hidden, slow), [roots[at] for at in slow]), strict=True))
        return [found[at] for at in range(len(roots))]

    def _grown_in_c(
        self, desk: Desk, vocabulary: DraftVocabulary, hidden: Tensor, roots: SequenceOf[Root]
    ) -> Iterator[Tree]:
        started = time.perf_counter()
        rules = Rules(self.num_heads, WIDTH, NUM_CANDIDATES, FEWEST_CHANCE)
        asked, limits = zip(*map(_question, roots), strict=True)
        grown = desk.grow(hidden, asked, limits, rules, (vocabulary.unembedding, vocabulary.ids))
        if grown.passes:
            self._took((time.perf_counter() - started) / grown.passes)
        return unpacked(grown.sizes, grown.numbers, grown.confidences)

    def grown(self, hidden: Tensor, roots: SequenceOf[Root]) -> list[Tree]:
        """As `trees`, in plain torch."""
        growths = [
            StateGrowth(root.token, width=WIDTH, most=root.most, fewest_hopes=root.fewest_hopes) for root in roots
        ]
        states, first = hidden, {index: index for index, root in enumerate(roots) if root.most}
        for level in range(self.num_heads):
            going_on = {index: growths[index] for index in first if level < roots[index].max_depth}
            tokens, parents, first = _leaves(going_on, first)
            if not tokens:
                break
            started = time.perf_counter()
            parent_states = states.index_select(0, torch.tensor(parents, device=hidden.device))
            states = self._packed(parent_states, torch.tensor(tokens, device=hidden.device))
            self._sprout(states, {index: growths[index] for index in first}, [root.choice for root in roots], level)
            self._took(time.perf_counter() - started)
        return [growth.tree() for growth in growths]

    def _took(self, seconds: float) -> None:
        self._pass_seconds += _RECENT * (seconds - self._pass_seconds)

    def fewest_hopes(self, budget: Budget) -> float:
        """Half of what would be read brings a token more, of two or so in a step: as much of a gain as the pass is a loss."""
        return 4 * self._pass_seconds / budget.step_seconds[-1] if budget.step_seconds else 0.0

    def _sprout(self, states: Tensor, growing: Mapping[int, Growth], choices: SequenceOf[Choice], level: int) -> None:
        """Gives every node that was read its children. states: [N, H], in the order of the growths and their nodes."""
        chosen = [
            (choices[index][0], choices[index][1] + level) for index, growth in growing.items() for _ in growth.reading
        ]
        tokens, chances = self.guessed(states, chosen)
        start = 0
        for growth in growing.values():
            stop = start + len(growth.reading)
            growth.sprout(tokens[start:stop], chances[start:stop])
            start = stop


def _some(hidden: Tensor, rows: list[int]) -> Tensor:
    return hidden if len(rows) == len(hidden) else hidden[rows]


def _question(root: Root) -> tuple[Asked, Limits]:
    sampling, position = root.choice
    key = noise_of(sampling, position)
    noise = stream(key.seed, key.choice) if key is not None else 0
    scale = 1.0 / key.temperature if key is not None else 1.0
    asked = Asked(root.token, root.most, root.max_depth, key is not None, noise, position)
    return asked, Limits(scale, root.fewest_hopes)


def _leaves(growths: Mapping[int, StateGrowth], first: Mapping[int, int]) -> tuple[list[int], list[int], dict[int, int]]:
    """What to read next: tokens, the rows of their parents among the states before, and where each growth's begin, without those
    that have none. first: where the parents of each growth begin."""
    tokens: list[int] = []
    parents: list[int] = []
    starts: dict[int, int] = {}
    for index, growth in growths.items():
        leaves = growth.leaves()
        if leaves:
            starts[index] = len(tokens)
            tokens += [token for token, _ in leaves]
            parents += [first[index] + row for _, row in leaves]
    return tokens, parents, starts
