"""Worlds with known costs and acceptance, in which controllers are tried: no model, no real time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from speculator.batch import Batch, Sampling, Sequence
from speculator.controller import Controller
from speculator.cost import StepCosts
from speculator.drafts import Drafts, Tree
from speculator.merged import MergedSpeculator
from speculator.protocol import Budget, Checkpoint
from speculator.shadow import Shadow
from speculator.verify import Verdicts


def pass_seconds(rows: int) -> float:
    """Like the bundled target on two cores: nearly flat up to sixteen rows, steep after thirty-two."""
    return 1.6e-3 + 4e-5 * rows + 1e-4 * max(rows - 32, 0)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ChainSource:
    """Proposes chains of five; each token is right with the chance `alpha` tells for the step, and is sure of itself in any case.

    A right token is 1, a wrong one 2: the world emits ones only.
    """

    name: str
    alpha: Callable[[int], float]
    seconds: float
    clock: Clock
    random: random.Random
    version: str = "v"
    needs_hidden: bool = False
    needs_layers: tuple[int, ...] = ()
    step: int = 0
    asked: int = 0

    def begin(self, sequence: Sequence) -> None: ...

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        self.asked += 1
        self.clock.now += self.seconds
        trees = []
        for _ in batch.decoding:
            tree = Tree.rooted(1)
            for depth in range(5):
                token = 1 if self.random.random() < self.alpha(self.step) else 2
                tree.add(depth, token, 0.7, 1)
            trees.append(tree)
        return Drafts.pack(trees, (self.name,))

    def verifying(self, batch: Batch, drafts: Drafts) -> None: ...

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None: ...

    def end(self, sequence: Sequence) -> None: ...

    def load(self, checkpoint: Checkpoint) -> None: ...

    def cost(self, rows: int) -> float:
        return self.seconds


@dataclass
class World:
    """Runs a batch of `num_sequences` endless sequences; `goodput` is in tokens per second."""

    num_sequences: int
    sources: list[tuple[str, Callable[[int], float], float]]
    fixed_budget: int | None = None
    noise: float = 0.05
    shadow_every: int = 0
    seed: int = 0
    profile: Callable[[int], float] = pass_seconds
    domain: Callable[[int], str] = lambda step: ""
    """What the sequences are about."""
    sequence_seconds: float = 0.0
    """What each sequence but the first adds to a pass."""
    seconds: float = 0.0
    tokens: int = 0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.chains = [
            ChainSource(name, alpha, seconds, self.clock, random.Random(self.seed + number + 1), version=f"{name} 1")
            for number, (name, alpha, seconds) in enumerate(self.sources)
        ]
        costs = StepCosts()
        costs.profile(lambda num_sequences, rows: self.profile(rows) + (num_sequences - 1) * self.sequence_seconds)
        shadow = Shadow(self.shadow_every)
        self.speculator = MergedSpeculator(self.chains, costs=costs, shadow=shadow, clock=self.clock)
        self.controller = Controller([chain.name for chain in self.chains], costs=costs, shadow=shadow)
        self.sequences = tuple(
            Sequence(number, "t", [1], 1, Sampling(max_tokens=10**9)) for number in range(self.num_sequences)
        )

    def run(self, num_steps: int) -> float:
        """Goodput of these steps."""
        tokens, started = self.tokens, self.clock.now
        for _ in range(num_steps):
            self._step()
        return (self.tokens - tokens) / (self.clock.now - started)

    def _step(self) -> None:
        for sequence in self.sequences:
            sequence.domain = self.domain(self.chains[0].step)
        batch, started = Batch(self.sequences), self.clock.now
        budget = self.controller.budget(batch) if self.fixed_budget is None else Budget(self.fixed_budget)
        drafts = self.speculator.propose(batch, budget)
        drafted = self.clock.now
        slowness = 1 + self.noise * self.random.random()
        self.clock.now += (pass_seconds(drafts.num_nodes) + (self.num_sequences - 1) * self.sequence_seconds) * slowness
        emitted = tuple(_accepted(tree) for tree in drafts.trees)
        for sequence, said in zip(self.sequences, emitted, strict=True):
            sequence.tokens += said
        self.tokens += sum(map(len, emitted))
        self.speculator.observe(batch, drafts, Verdicts(((),) * len(batch.decoding), emitted))
        self.controller.observe(
            len(batch.decoding), drafts.num_drafted, sum(map(len, emitted)), self.clock.now - drafted, drafted - started
        )
        for chain in self.chains:
            chain.step += 1


def _accepted(tree: Tree) -> tuple[int, ...]:
    """What the world emits: the ones along the tree, and one more."""
    node, length = 0, 1
    while True:
        child = next((n for n in range(node + 1, len(tree)) if tree.parent[n] == node and tree.tokens[n] == 1), None)
        if child is None:
            return (1,) * length
        node, length = child, length + 1


def best_fixed(num_sequences: int, sources: list[tuple[str, Callable[[int], float], float]], num_steps: int) -> float:
    """Goodput of the best budget that never changes."""
    return max(
        World(num_sequences, sources, fixed_budget=nodes * num_sequences).run(num_steps) for nodes in range(6)
    )
