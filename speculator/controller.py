"""Controller: how much to draft in the next step, and with whom; nothing is always among the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from speculator.arms import NONE, Arm, Arms
from speculator.batch import Batch
from speculator.cost import StepCosts
from speculator.kinds import EAGLE, HEADS, static
from speculator.protocol import Budget
from speculator.shadow import Shadow

PLAIN = Budget(0)
COSTLY = (*(name for kind in HEADS for name in (kind, static(kind))), EAGLE, "draft-lm", "ssd")
"""Sources of which one at a time drafts: what they cost is not for next to nothing."""
_FEWEST_NODES = 4
_EXPLORE_EVERY = 32
"""Steps after which one drafts without regard to price: what is never done is never measured, and a price once thought too
high would stay so."""
_RECENT = 0.1
"""Weight of the newest step in the running means."""
_MARGIN = 1.02
"""Tokens per step on the same text, over those of the heads in use, that the other copy must show to take
over."""
_FEWEST_SCORES = 16
"""Scored trees on which such a comparison rests at least."""


class Controller:
    """Three decisions, each on what was measured: the arm (which sources, or none) by tokens per second
    brought so far; the copy of some heads (adaptive, or the static floor) by what both would have got accepted
    on the same text; and the number of nodes, left to `merge.prune`, which knows this step's confidence,
    under a cap and the price of each node from the cost table.

    sources: all there are. max_tree: most nodes of one sequence. max_nodes: most nodes of a step.
    """

    def __init__(
        self,
        sources: Sequence[str],
        *,
        costs: StepCosts | None = None,
        shadow: Shadow | None = None,
        max_tree: int = 32,
        max_nodes: int = 64,
        max_depth: int = 16,
    ) -> None:
        self.enabled = True
        """False: plain decoding, whatever it costs."""
        self._costs = costs or StepCosts()
        self._shadow = shadow or Shadow(every=0)
        self._arms = _arms(sources)
        self._twins = _twins(sources)
        self._by_size: dict[int, Arms] = {}
        self._max_tree, self._max_nodes, self._max_depth = max_tree, max_nodes, max_depth
        self._arm: Arm = NONE
        self._drafted = float(_FEWEST_NODES)
        """Running mean of the nodes that pruning left per step."""
        self._budget = PLAIN
        self._zero_share = 0.0
        self._since_explored = 0

    def budget(self, batch: Batch) -> Budget:
        """What the next draft may hold. To be asked once a step."""
        self._since_explored += 1
        self._budget = self._decide(batch)
        self._zero_share += _RECENT * ((self._budget.nodes == 0) - self._zero_share)
        return self._budget

    def observe(
        self, num_sequences: int, num_drafted: int, num_emitted: int, step_seconds: float, draft_seconds: float
    ) -> None:
        """After a step without prompt tokens. step_seconds: all of it but the drafting."""
        plain_seconds = self._costs.seconds(num_sequences)
        self._costs.measured(num_sequences, num_drafted, step_seconds)
        if self.enabled and plain_seconds and self._since_explored:
            gain = num_emitted / num_sequences * plain_seconds / (step_seconds + draft_seconds)
            self._arms_for(num_sequences).observe(self._arm, gain)
        if self._budget.nodes:
            self._drafted += _RECENT * (num_drafted - self._drafted)

    def gauges(self) -> dict[str, float]:
        """For metrics: the budget, the share of recent steps without one, and the gain over plain decoding by
        arm, at batch size 1."""
        gauges = {
            "budget_nodes": float(self._budget.nodes),
            "zero_share": self._zero_share,
        }
        for size, arms in self._by_size.items():
            gains = arms.gains()
            gauges[f"gain:{1 << size}"] = gains[arms.best]
            for arm in gains:
                gauges[f"arm:{1 << size}:{'+'.join(sorted(arm)) or 'none'}"] = float(arm == arms.best)
        return gauges

    def _decide(self, batch: Batch) -> Budget:
        num_drafting = sum(sequence.speculative and sequence.num_left > 1 for sequence in batch.decoding)
        if not self.enabled or not num_drafting or not self._arms:
            self._arm = NONE
            return PLAIN
        num_sequences = len(batch.decoding)
        arms = self._arms_for(num_sequences)
        # a step that also reads prompts measures nothing (`observe`), so nothing is tried in one
        self._arm = arms.best if batch.chunks else self._choose(arms)
        if self._arm == NONE:
            return PLAIN
        # twice what pruning left lately: room to grow, and no time lost on nodes that will not be verified
        nodes = min(max(int(2 * self._drafted), _FEWEST_NODES), num_drafting * self._max_tree, self._max_nodes)
        if self._since_explored >= _EXPLORE_EVERY and not batch.chunks:
            self._since_explored = 0
            return Budget(nodes, self._max_depth, self._arm)
        steps = self._costs.steps(num_sequences, batch.num_prompt_tokens, nodes)
        return Budget(nodes, self._max_depth, self._arm, steps)

    def _choose(self, arms: Arms) -> Arm:
        """The arm of the next step; between two copies of the same heads, the one that lately would have had more
        accepted on the same text."""
        for kind, (adaptive, floor) in self._twins.items():
            if arms.best == adaptive and self._overtakes(static(kind), kind):
                arms.prefer(floor)
            elif arms.best == floor and self._overtakes(kind, static(kind)):
                arms.prefer(adaptive)
        before = arms.best
        arm = arms.choose()
        if arms.best != before:
            # what they had accepted before the change speaks of other text
            for kind in self._twins:
                self._shadow.forget(kind)
                self._shadow.forget(static(kind))
        return arm

    def _overtakes(self, challenger: str, holder: str) -> bool:
        (gained, num_scored), (held, _) = self._shadow.recent(challenger), self._shadow.recent(holder)
        return num_scored >= _FEWEST_SCORES and gained > held * _MARGIN

    def _arms_for(self, num_sequences: int) -> Arms:
        size = round(math.log2(num_sequences))
        if size not in self._by_size:
            self._by_size[size] = Arms(self._arms, list(self._twins.values()), 1 << size)
        return self._by_size[size]


def _arms(sources: Sequence[str]) -> list[Arm]:
    """Everything with one of those that cost something (a copy of some heads, or a draft model before or beside the target), and
    what drafts for next to nothing without any of them: the latter first where there are no heads that learn."""
    alone = [_with(each, sources) for each in COSTLY if each in sources]
    cheap = frozenset(sources) - frozenset(COSTLY)
    candidates = [*alone, cheap] if set(HEADS) & set(sources) else [cheap, *alone]
    return [arm for arm in candidates if arm]


def _twins(sources: Sequence[str]) -> dict[str, tuple[Arm, Arm]]:
    """By kind, the arms of those heads of which there are both copies: adaptive, static."""
    both = [kind for kind in HEADS if {kind, static(kind)} <= set(sources)]
    return {kind: (_with(kind, sources), _with(static(kind), sources)) for kind in both}


def _with(costly: str, sources: Sequence[str]) -> Arm:
    return frozenset(sources) - frozenset(COSTLY) | {costly}
