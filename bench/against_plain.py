"""The adapted engine against our own plain decoding, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence

from bench.context import Bench
from bench.pairs import Pairs, interleave
from bench.results import Trainer
from bench.rig import Ask


def against_plain(
    bench: Bench, batches: Sequence[Sequence[Ask]], concurrency: int, trainer: Trainer
) -> Pairs:
    """batches: first the proof, then one for each pair. While the trainer runs, it is fed what is answered. Raises Different."""
    ours, plain = bench.fed(bench.adapted().client, concurrency, trainer), bench.house.plain
    with bench.stack.busy():
        return interleave(batches[0], batches[1:], ours, lambda asks: plain.run(asks, concurrency), bench.judge)
