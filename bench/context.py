"""Bench: what the figures share within a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.adaptation import Adapted, adapt
from bench.equality import Judge
from bench.errors import BenchError
from bench.groups import GROUPS
from bench.house import House
from bench.rig import Ask, Client
from bench.sizes import TEMPERATURES, Sizes
from bench.stack import Stack
from bench.supply import Supply
from bench.versions import Versions
from cli.errors import CliError


@dataclass(slots=True)
class Bench:
    house: House
    supply: Supply
    tasks: Supply
    """By task group in place of domain."""
    sizes: Sizes
    judge: Judge
    stack: Stack
    versions: Versions
    say: Callable[[str], None]
    """Shows progress."""
    out: Path
    """Where the report goes, and what may be of use to another run."""
    draft: str = ""
    """As in `Options`."""
    log: str = ""
    """URL of the traffic log of the figure `log`; empty: SQLite in the server's data."""
    _adapted: Adapted | BenchError | CliError | None = field(default=None, init=False)

    def adapted(self) -> Adapted:
        """The engine after its adaptation, which is made once; the trainer is left running. Raises BenchError."""
        if self._adapted is None:
            self.say("  adaptation first: traffic that shifts, a trainer beside it")
            try:
                self._adapted = adapt(self.house, self.supply, self.sizes, self.judge, self.stack, self.say)
            except (BenchError, CliError) as error:
                self._adapted = error  # another attempt would end no better
        if isinstance(self._adapted, BenchError | CliError):
            raise self._adapted
        return self._adapted

    @property
    def adaptation(self) -> str:
        """What came of it, in words."""
        return self._adapted.summary if isinstance(self._adapted, Adapted) else "none made"

    def practised(self, client: Client) -> Client:
        """That engine, once it has answered training prompts of every task group: sources and controller have seen such text."""
        asks = [ask for group in GROUPS for ask in self.tasks.training(group, self.sizes.practice)]
        client.run([ask.at(TEMPERATURES[at % 2]) for at, ask in enumerate(asks)], 1)
        return client

    def serving(self) -> Client:
        """The adapted engine if there is one, else a new one as it serves."""
        return self._adapted.client if isinstance(self._adapted, Adapted) else self.house.adapting()

    def batches(self, num_pairs: int, num_each: int, domains: Sequence[str], temperature: float) -> list[list[Ask]]:
        """Fresh requests for a proof and for each pair: `num_pairs` + 1 batches, the domains mixed in each. Raises NotEnough."""
        return self.supply.batches(num_pairs + 1, num_each, domains, temperature)
