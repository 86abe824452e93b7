"""The one protocol of everything that drafts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipelines.checkpoint import Checkpoint as Checkpoint
from speculator.batch import Batch, Sequence
from speculator.drafts import Drafts
from speculator.verify import Verdicts


@dataclass(frozen=True, slots=True)
class Budget:
    """What the controller allows the next draft."""

    nodes: int
    """Drafted nodes over the whole batch; 0: decode plainly."""
    max_depth: int = 16
    sources: frozenset[str] | None = None
    """The sources that may draft; None: all."""
    arms: tuple[frozenset[str], ...] = ()
    """Sets of sources that are to be scored, in a shadowed step, whether they draft or not."""
    step_seconds: tuple[float, ...] = ()
    """Expected seconds of the step with this many drafted nodes, from 0 to `nodes`, drafting left out: growth stops where another
    node no longer pays. Empty: nodes are free up to the budget."""

    def allows(self, source: str) -> bool:
        return self.nodes > 0 and (self.sources is None or source in self.sources)

    def share(self, num_sequences: int) -> int:
        """Most nodes worth proposing for one of so many sequences: twice the fair share, since pruning across the batch moves
        nodes to where they pay."""
        return min(self.nodes, 2 * -(-self.nodes // num_sequences))


class Speculator(Protocol):
    """Drafts for a batch, learns from verdicts. Called from the engine's thread only."""

    @property
    def name(self) -> str:
        """The source's name in metrics and traces: `medusa`, `medusa-static`, `suffix`, …"""

    @property
    def version(self) -> str:
        """The version in use."""

    @property
    def needs_hidden(self) -> bool:
        """Whether `Sequence.hidden` must be kept for it."""

    @property
    def needs_layers(self) -> tuple[int, ...]:
        """The target's layers whose states it wants of all that is written (`Sequence.layers`); most want none."""

    def begin(self, sequence: Sequence) -> None:
        """A sequence enters; its tokens are the prompt."""

    def propose(self, batch: Batch, budget: Budget) -> Drafts:
        """A tree for each of `batch.decoding`, in that order; its root is the sequence's newest token.

        May be empty; never deeper than `budget.max_depth` or what the sequence may still emit.
        """

    def verifying(self, batch: Batch, drafts: Drafts) -> None:
        """The target has started on `drafts`: whoever drafts ahead starts now."""

    def observe(self, batch: Batch, drafts: Drafts, verdicts: Verdicts) -> None:
        """After the step: `drafts` is what was verified (possibly merged from several sources), and the sequences already hold
        the emitted tokens."""

    def end(self, sequence: Sequence) -> None:
        """A sequence leaves, finished or aborted. `sequence.learn` says whether to remember it."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Takes newer weights, between two steps; or has them prepared, to be taken by a `take_prepared` (`speculator.newer`)."""

    def cost(self, rows: int) -> float:
        """Expected seconds to propose for `rows` sequences, from what was measured."""
