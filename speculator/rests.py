"""Rests: where many answers are generated at once, those for which drafting did not pay lately are left alone for a while.

In a crowd a draft costs as much time as a third of a token, so it must pay for each sequence by itself: one whose text repeats
gains ten tokens a step, while the fifteen beside it gain less than they cost.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from speculator.arms import CROWD
from speculator.batch import Sequence
from speculator.drafts import Tree

_LONGEST = 16
"""Steps of a rest; the first takes one, and each that follows without a gain in between twice as many as the one before."""
_NEWEST = 0.3
"""Weight of the newest draft in the running mean."""


@dataclass(slots=True)
class _State:
    gain: float = 0.0
    """Running mean of what drafting brought, in tokens a step, less what it cost at plain decoding's price."""
    wait: int = 1
    until: int = 0
    """Step at which it is drafted for again."""


class Rests:
    """To be asked in every step (`awake`), and told what came of the drafts (`judge`)."""

    def __init__(self) -> None:
        self._states: dict[int, _State] = {}
        self._step = 0

    def awake(self, decoding: SequenceOf[Sequence]) -> list[int]:
        """Indices of the sequences to draft for; of fewer than CROWD all."""
        self._step += 1
        if len(decoding) < CROWD:
            return list(range(len(decoding)))
        return [index for index, sequence in enumerate(decoding) if sequence.speculative and not self._resting(sequence.id)]

    def judge(
        self,
        sequences: SequenceOf[Sequence],
        trees: SequenceOf[Tree],
        num_decoding: int,
        step_seconds: SequenceOf[float],
        seconds: float,
    ) -> None:
        """Takes in the drafts of a step.

        sequences: those drafted for. trees: what was kept of their drafts, which says what they may expect. num_decoding:
        sequences of the step. step_seconds: as in `Budget`; empty: nothing can be judged. seconds: of drafting for one of them.
        """
        if num_decoding < CROWD or not step_seconds or not step_seconds[0]:
            return
        # drawn trees are kept whole, at least a node each, and may be more than the budget has prices for
        num_priced = min(sum(map(len, trees)) - len(trees), len(step_seconds) - 1)
        plain_seconds = step_seconds[0]
        per_node = (step_seconds[num_priced] - plain_seconds) / num_priced if num_priced else 0.0
        tokens_per_second = num_decoding / plain_seconds
        for sequence, tree in zip(sequences, trees, strict=True):
            cost = (len(tree) - 1) * per_node + seconds
            self._judge(sequence, sum(tree.survival()) - 1.0 - cost * tokens_per_second)

    def end(self, sequence: Sequence) -> None:
        """A sequence leaves."""
        self._states.pop(sequence.id, None)

    def _resting(self, sequence_id: int) -> bool:
        state = self._states.get(sequence_id)
        return state is not None and self._step < state.until

    def _judge(self, sequence: Sequence, gain: float) -> None:
        state = self._states.setdefault(sequence.id, _State())
        state.gain += _NEWEST * (gain - state.gain)
        if gain < 0 and state.gain < 0:
            state.until = self._step + 1 + state.wait
            state.wait = min(2 * state.wait, _LONGEST)
        else:
            state.wait = 1
