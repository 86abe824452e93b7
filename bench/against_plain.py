"""The adapted engine against our own plain decoding, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence

from bench.context import Bench
from bench.pairs import Pairs, interleave
from bench.results import Trainer
from bench.rig import Answer, Ask


def against_plain(
    bench: Bench, batches: Sequence[Sequence[Ask]], concurrency: int, trainer: Trainer
) -> Pairs:
    """batches: first the proof, then one for each pair. While the trainer runs, it is fed what is answered. Raises Different."""
    client, plain = bench.adapted().client, bench.house.plain

    def ours(asks: Sequence[Ask]) -> list[Answer]:
        answers = client.run(asks, concurrency)
        if trainer == "on":
            bench.stack.check_trainer()
            bench.stack.record(answers)
        return answers

    with bench.stack.busy():
        return interleave(batches[0], batches[1:], ours, lambda asks: plain.run(asks, concurrency), bench.judge)
