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
from bench.pairs import Side
from bench.results import Trainer
from bench.rig import Answer, Ask, Client
from bench.schooling import school
from bench.sizes import TEMPERATURES, Sizes
from bench.stack import Stack
from bench.supply import Supply
from bench.versions import Versions
from cli.errors import CliError

_ROOM = 1024
"""Tokens of a request in the mean that there are pages for."""


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
    _schooled: Client | CliError | None = field(default=None, init=False)

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

    def of_task_groups(self, trainer: Trainer) -> Client:
        """An engine that has seen text of every task group, with room for crowds.

        With a trainer: it has served such traffic while the trainer learnt from it, which is done once; the trainer is left
        running. Raises CliError.
        """
        if trainer == "off":
            return self.practised(self.house.variant(**self.room))
        if self._schooled is None:
            self.say("  traffic of task groups first, a trainer beside it")
            client = self.house.adapting(**self.room)
            try:
                came = school(client, self.tasks, self.sizes, self.stack, self.say)
                self.say(f"  {came}")
                self._schooled = client
            except CliError as error:
                self._schooled = error  # another attempt would end no better
        if isinstance(self._schooled, CliError):
            raise self._schooled
        return self._schooled

    @property
    def room(self) -> dict[str, int]:
        """Settings of an engine for the largest crowd of `sizes`."""
        most = max(self.sizes.crowds)
        return {"max_running": most, "max_waiting": 2 * most, "max_cached_tokens": most * _ROOM}

    def fed(self, client: Client, concurrency: int, trainer: Trainer) -> Side:
        """As it answers with so many at once. While the trainer runs, it is fed what is answered."""

        def answers(asks: Sequence[Ask]) -> list[Answer]:
            made = client.run(asks, concurrency)
            if trainer == "on":
                self.stack.check_trainer()
                self.stack.record(made)
            return made

        return answers

    def serving(self) -> Client:
        """The adapted engine if there is one, else a new one as it serves."""
        return self._adapted.client if isinstance(self._adapted, Adapted) else self.house.adapting()

    def batches(self, num_pairs: int, num_each: int, domains: Sequence[str], temperature: float) -> list[list[Ask]]:
        """Fresh requests for a proof and for each pair: `num_pairs` + 1 batches, the domains mixed in each. Raises NotEnough."""
        return self.supply.batches(num_pairs + 1, num_each, domains, temperature)
