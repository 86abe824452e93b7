"""Plain decoding, ours against transformers' `generate`: same weights, threads, limits and end tokens, batch size 1, greedy.

At a temperature above 0 transformers draws other random numbers, so the outputs cannot be equal and nothing is timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from bench.context import Bench
from bench.figures.identity import IDENTITY, certain
from bench.pairs import Pairs, interleave
from bench.results import Goal, Measure, Trainer
from bench.rig import Answer, Ask
from bench.speed import speed_measures

PLAIN = Goal(name="plain", title="plain decoding, ours against transformers, batch size 1", at_least=1.2, aim=2.0)
GOALS = (PLAIN, IDENTITY)


class Reference:
    """transformers' own decoding of the target in `folder`."""

    def __init__(self, folder: Path) -> None:
        import transformers  # takes seconds, and only this figure needs it

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Greedy answers, one after the other."""
        return [self._answer(ask) for ask in asks]

    def _answer(self, ask: Ask) -> Answer:
        assert ask.temperature == 0.0
        prompt = torch.tensor([ask.prompt_ids])
        started = perf_counter()
        with torch.inference_mode():
            output = self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=ask.max_tokens,
                do_sample=False,
                eos_token_id=list(ask.stop_ids),
                pad_token_id=ask.stop_ids[0],
            )
        seconds = perf_counter() - started
        said = output[0, len(ask.prompt_ids) :].tolist()
        return Answer(ask, said, num_timed=len(said), seconds=seconds)


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises Different."""
    num_pairs, num_each = bench.sizes.transformers_pairs, bench.sizes.transformers_each
    asks = bench.supply.everywhere((num_pairs + 1) * num_each)
    batches = [asks[start : start + num_each] for start in range(0, len(asks), num_each)]
    plain, reference = bench.house.plain, Reference(bench.house.folder)
    pairs = interleave(batches[0], batches[1:], lambda asks: plain.run(asks, 1), reference.run, bench.judge)
    yield _identity(pairs)
    yield from speed_measures(PLAIN, "ours against transformers", pairs, temperature=0.0)


def _identity(pairs: Pairs) -> Measure:
    detail = f"{pairs.num_answers} of {pairs.num_answers} equal ({pairs.num_near_ties} near-ties, {pairs.num_looping} looping)"
    return Measure(
        goal=IDENTITY.name,
        what="plain decoding against transformers",
        ratio=certain(pairs.num_answers),
        temperature=0.0,
        detail=detail,
    )
