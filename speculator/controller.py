"""Controller: how much to draft in the next step, and with whom; nothing is always among the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from speculator.arms import NONE, Arm
from speculator.batch import Batch
from speculator.contexts import Contexts, Situation
from speculator.cost import StepCosts
from speculator.kinds import HEADS, WITH_FLOOR, static
from speculator.outlook import Promise
from speculator.protocol import Budget
from speculator.shadow import Shadow

PLAIN = Budget(0)
COSTLY = (*(name for kind in WITH_FLOOR for name in (kind, static(kind))), "draft-lm", "ssd", "self")
"""Sources of which one at a time drafts: what they cost is not for next to nothing."""
_FEWEST_NODES = 4
_EXPLORE_EVERY = 64
"""Steps after which one drafts without regard to price: what is never done is never measured, and a price once thought too
high would stay so."""
_HICCUP = 4.0
"""Plain steps that a step takes at most, as it counts: more is the machine's doing."""
_RECENT = 0.1
"""Weight of the newest step in the running means."""


class Controller:
    """Two decisions, each on what was measured: the arm (which sources, the static heads in place of the adaptive ones among
    them, or none) by the tokens per second that it brings, or would have brought on the same text (`speculator.arms`); and the
    number of nodes, left to `merge.prune`, which knows this step's confidence, under a cap and the price of each node from the
    cost table. Arms are judged apart for greedy and for sampled choices, by how many answers are generated at once, and for
    tenants and domains of which enough was seen (`speculator.contexts`).

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
        self._arms = tuple(_arms(sources))
        self._nothing = Budget(0, arms=self._arms)
        heard = self._shadow.hears  # else there is no outlook to wait for
        self._contexts = Contexts(self._arms, [arm for arm in self._arms if heard and arm & set(COSTLY)])
        self._situation = Situation(0, False, None)
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
        self._hear_news()
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
            took = min((step_seconds + draft_seconds) / plain_seconds, _HICCUP)
            self._contexts.observe(self._situation, self._arm, num_emitted / num_sequences / took, took)
        if self._budget.nodes:
            self._drafted += _RECENT * (num_drafted - self._drafted)

    def forget(self, tenant: str) -> None:
        """What a tenant's own steps said of the arms, and its name. What everybody's say stays: it is nobody's."""
        self._contexts.forget_tenant(tenant)
        if self._situation.concerns(tenant):  # of a step that is told of in a moment
            self._situation = self._situation._replace(group=None)

    def gauges(self) -> dict[str, float]:
        """For metrics: the budget, the share of recent steps without one, and what each arm is thought to gain over plain
        decoding, with the one that is used; of groups that are judged by themselves how many use an arm, and what it gains them
        on average. Metrics are for everybody's eyes, so no group is named."""
        gauges = {
            "budget_nodes": float(self._budget.nodes),
            "zero_share": self._zero_share,
        }
        of_groups: defaultdict[str, list[float]] = defaultdict(list)
        for (size, sampled, group), arms in self._contexts:
            gains, context = arms.gains(), f"{1 << size}:{'sampled' if sampled else 'greedy'}"
            if group is not None:
                of_groups[f"{context}:{_name(arms.best)}"].append(gains[arms.best])
                continue
            gauges[f"gain:{context}"] = gains[arms.best]
            for arm, gain in gains.items():
                gauges[f"arm:{context}:{_name(arm)}"] = float(arm == arms.best)
                gauges[f"arm_gain:{context}:{_name(arm)}"] = gain
        for where, theirs in of_groups.items():
            gauges[f"groups:{where}"] = float(len(theirs))
            gauges[f"group_gain:{where}"] = sum(theirs) / len(theirs)
        return gauges

    def _decide(self, batch: Batch) -> Budget:
        if batch.decoding:
            self._situation = Situation.of(batch)
        num_drafting = sum(sequence.speculative and sequence.num_left > 1 for sequence in batch.decoding)
        if not self.enabled or not num_drafting or not self._arms:
            self._arm = NONE
            return PLAIN
        num_sequences = len(batch.decoding)
        arms = self._contexts.arms(self._situation)
        # a step that also reads prompts measures nothing (`observe`), so nothing is tried in one
        self._arm = arms.best if batch.chunks else arms.choose()
        if self._arm == NONE:
            return self._nothing
        # twice what pruning left lately: room to grow, and no time lost on nodes that will not be verified
        nodes = min(max(int(2 * self._drafted), _FEWEST_NODES), num_drafting * self._max_tree, self._max_nodes)
        if self._since_explored >= _EXPLORE_EVERY and not batch.chunks:
            self._since_explored = 0
            return Budget(nodes, self._max_depth, self._arm, self._arms)
        steps = self._costs.steps(num_sequences, batch.num_prompt_tokens, nodes)
        return Budget(nodes, self._max_depth, self._arm, self._arms, steps)

    def _hear_news(self) -> None:
        """Takes in what the shadow has found out since the last step."""
        for news in self._shadow.news():
            if isinstance(news, Promise):
                self._contexts.foresee(news)
            else:
                self._contexts.forget(news)


def _arms(sources: Sequence[str]) -> list[Arm]:
    """Everything with one of those that cost something (a copy of some heads, a draft model before or beside the target, or
    the target itself), what learns of these by itself, and what drafts for next to nothing without any of them, together and each
    alone: these first where there are no heads that learn."""
    costly = [_with(each, sources) for each in COSTLY if each in sources]
    # where chances are calibrated well, other sources' guesses beside them cost more than they find
    costly += [arm for each in WITH_FLOOR if each in sources and (arm := frozenset({each})) not in costly]
    names = [each for each in sources if each not in COSTLY]
    cheap = [frozenset(names), *(frozenset({each}) for each in names if len(names) > 1)]
    candidates = [*costly, *cheap] if set(HEADS) & set(sources) else [*cheap, *costly]
    return [arm for arm in candidates if arm]


def _name(arm: Arm) -> str:
    return "+".join(sorted(arm)) or "none"


def _with(costly: str, sources: Sequence[str]) -> Arm:
    return frozenset(sources) - frozenset(COSTLY) | {costly}
