"""Equality before timing: an output may differ from plain decoding's only at a near-tie, and each one is proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.errors import Different
from bench.rig import Answer, Ask
from models.decoder import Decoder
from speculator.law import NEAR_TIE, noisy_scores


@dataclass(frozen=True, slots=True)
class NearTie:
    """A first difference that rounding explains: both tokens were the best two, within NEAR_TIE of each other."""

    ask_id: int
    position: int
    """Output position of the first difference."""
    gap: float


class Judge:
    """Compares outputs. Keeps the near-ties that it has proven."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.near_ties: list[NearTie] = []

    def same(self, ours: Sequence[Answer], theirs: Sequence[Answer]) -> int:
        """The number of near-ties among answers to the same asks. Raises Different if any answer differs beyond one."""
        ties: list[NearTie] = []
        wrong: list[str] = []
        for our, their in zip(ours, theirs, strict=True):
            assert our.ask == their.ask
            try:
                tie = self._compare(our.ask, our.token_ids, their.token_ids)
            except Different as error:
                wrong.append(str(error))
            else:
                ties += [tie] if tie is not None else []
        if wrong:
            raise Different(f"{len(wrong)} of {len(ours)} outputs differ; the first: {wrong[0]}")
        self.near_ties += ties
        return len(ties)

    def _compare(self, ask: Ask, ours: Sequence[int], theirs: Sequence[int]) -> NearTie | None:
        """None: equal. Raises Different."""
        if list(ours) == list(theirs):
            return None
        common = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        name = f"request {ask.id} ({ask.domain}, temperature {ask.temperature:g})"
        if common is None:
            raise Different(f"{name} has {len(ours)} tokens here and {len(theirs)} there, one the start of the other")
        best, gap = self._best_two(ask, ours[:common])
        if {ours[common], theirs[common]} != best or gap >= NEAR_TIE:
            raise Different(
                f"{name} at output position {common}: {ours[common]} here, {theirs[common]} there; "
                f"a dense pass finds the best two {sorted(best)} {gap:.2g} apart"
            )
        return NearTie(ask.id, common, gap)

    def _best_two(self, ask: Ask, said: Sequence[int]) -> tuple[set[int], float]:
        """The two best tokens after `said` and the gap of their scores, from a pass over the whole text without pages."""
        hidden = self._decoder.hidden_states(torch.tensor([*ask.prompt_ids, *said]))[-1]
        scores = noisy_scores(self._decoder.logits(hidden), ask.sampling, len(said))
        first, second = scores.topk(2).values.tolist()
        return set(scores.topk(2).indices.tolist()), first - second
