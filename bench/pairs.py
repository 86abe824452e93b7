"""Interleaved pairs: two sides answer the same requests in turns, and nothing counts unless the answers are equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.equality import Judge
from bench.ratios import Ratio, median_ratio
from bench.rig import Answer, Ask, tokens_per_second

Side = Callable[[Sequence[Ask]], list[Answer]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The answers of both sides, pair by pair."""

    ours: list[list[Answer]]
    theirs: list[list[Answer]]
    num_near_ties: int

    def speed(self, *, loops: bool) -> Ratio | None:
        """Our tokens per second over theirs. loops: False leaves out requests whose answer loops, on either side.

        None if that leaves nothing.
        """
        timed = self.speeds(loops=loops)
        return median_ratio([ours for ours, _ in timed], [theirs for _, theirs in timed]) if timed else None

    def speeds(self, *, loops: bool) -> list[tuple[float, float]]:
        """Our tokens per second and theirs, of each pair in which both were timed."""
        rates = [self._rates(ours, theirs, loops) for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        return [(ours, theirs) for ours, theirs in rates if ours and theirs]

    @property
    def num_answers(self) -> int:
        return sum(map(len, self.ours))

    @property
    def num_looping(self) -> int:
        return sum(answer.looping for answers in self.ours for answer in answers)

    @staticmethod
    def _rates(ours: list[Answer], theirs: list[Answer], loops: bool) -> tuple[float, float]:
        kept = [
            (our, their)
            for our, their in zip(ours, theirs, strict=True)
            if loops or not (our.looping or their.looping)
        ]
        return tokens_per_second(our for our, _ in kept), tokens_per_second(their for _, their in kept)


def interleave(proof: Sequence[Ask], batches: Sequence[Sequence[Ask]], ours: Side, theirs: Side, judge: Judge) -> Pairs:
    """One pair for each of `batches`, the two sides taking turns in going first.

    proof: requests whose answers are compared before any is timed; they warm both sides up. Raises Different as soon as outputs
    are not equal, in the proof or in any pair.
    """
    num_near_ties = judge.same(ours(proof), theirs(proof))
    done: tuple[list[list[Answer]], list[list[Answer]]] = ([], [])
    for number, asks in enumerate(batches):
        sides = [(done[0], ours), (done[1], theirs)]
        for answers, side in sides if number % 2 == 0 else reversed(sides):
            answers.append(side(asks))
        num_near_ties += judge.same(done[0][-1], done[1][-1])
    return Pairs(*done, num_near_ties)
