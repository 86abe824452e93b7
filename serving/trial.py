"""Trial: what two versions in service at once do for their requests, counted by the engine step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipelines.registry import Served, Slot, SlotState
from pipelines.registry import Trial as Report
from serving.lots import lot
from serving.messages import FinishReason
from speculator.batch import Sequence


@dataclass(slots=True)
class _Progress:
    """Of one answer so far."""

    is_rival: bool
    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0


class Trial:
    """Follows answers from their first token to their last; those under way when it began or ended count for nobody.

    generation: of the slot, whose two versions these are; 0: there is no trial.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.champion, self.rival = Served(), Served()
        self._open: dict[int, _Progress] = {}

    def restart(self, generation: int) -> None:
        """Other versions serve now; 0: one alone."""
        self.generation = generation
        self.champion, self.rival = Served(), Served()
        self._open.clear()

    def begin(self, sequence: Sequence, is_rival: bool) -> None:
        """A sequence enters, and will be drafted for by one of the two."""
        if self.generation and sequence.speculative:
            self._open[sequence.id] = _Progress(is_rival)

    def stepped(self, sequence: Sequence, num_tokens: int, seconds: float, reason: FinishReason | None) -> None:
        """A decoding sequence took part in a step that took so long."""
        progress = self._open.get(sequence.id)
        if progress is None:
            return
        progress.tokens += num_tokens
        progress.steps += 1
        progress.seconds += seconds
        if reason is not None:
            side = self.rival if progress.is_rival else self.champion
            side.add(progress.tokens, progress.steps, progress.seconds)
            del self._open[sequence.id]

    def end(self, sequence: Sequence) -> None:
        """A sequence left, whether it was finished or not."""
        self._open.pop(sequence.id, None)

    def gauges(self) -> dict[str, float]:
        """For metrics: how far each of two versions in service has come."""
        found = {}
        for side, served in (("champion", self.champion), ("rival", self.rival)):
            found[f"trial_requests:{side}"] = float(served.num_requests)
            known = served.steps and served.seconds
            found[f"trial_acceptance_length:{side}"] = served.length.value if known else math.nan
            found[f"trial_tokens_per_second:{side}"] = served.speed.value if known else math.nan
        return found

    def report(self) -> Report | None:
        """None without a trial."""
        if not self.generation:
            return None
        return Report(generation=self.generation, champion=self.champion, rival=self.rival)


def own_share(state: SlotState, slot: Slot, replica: str) -> float:
    """Of this replica's requests, what the candidate serves: the share itself, or all or none where whole replicas are chosen."""
    if state.share_of == "requests":
        return state.share
    return float(lot(f"{slot.target} {state.candidate} {replica}") < state.share)
