"""Plain decoding, ours against transformers' `generate`: same weights, threads, limits and end tokens, greedy.

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
from bench.rig import Answer, Ask, at_once
from bench.speed import speed_measures

PLAIN = Goal(name="plain", title="plain decoding, ours against transformers, batch size 1", at_least=1.5, aim=2.5)
BATCHES = Goal(name="plain-batches", title="the same with 8 and 32 requests at once", at_least=2.0, aim=4.0)
GOALS = (PLAIN, BATCHES, IDENTITY)
_AT_ONCE = (8, 32)


def model_in(folder: Path) -> Any:
    """The model in `folder` as transformers has it."""
    import transformers  # takes seconds, and few figures need it

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


class Reference:
    """transformers' own decoding of the target in `folder`. how: further arguments of `generate`."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self._model = model_in(folder)
        self._how = how

    def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Greedy answers, one after the other."""
        return [answer for ask in asks for answer in self.at_once([ask])]

    def at_once(self, asks: Sequence[Ask]) -> list[Answer]:
        """Greedy answers, all in one batch: prompts are filled up on the left, and who is through waits for the others."""
        assert all(ask.temperature == 0.0 for ask in asks)
        longest = max(len(ask.prompt_ids) for ask in asks)
        ends = asks[0].stop_ids
        prompts = torch.tensor([[ends[0]] * (longest - len(ask.prompt_ids)) + list(ask.prompt_ids) for ask in asks])
        mask = torch.tensor([[0] * (longest - len(ask.prompt_ids)) + [1] * len(ask.prompt_ids) for ask in asks])
        started = perf_counter()
        with torch.inference_mode():
            output = self._model.generate(
                prompts,
                attention_mask=mask,
                max_new_tokens=max(ask.max_tokens for ask in asks),
                do_sample=False,
                eos_token_id=list(ends),
                pad_token_id=ends[0],
                **self._how,
            )
        share = (perf_counter() - started) / len(asks)
        said = [_said(ask, row[longest:].tolist()) for ask, row in zip(asks, output, strict=True)]
        return [Answer(ask, each, num_timed=len(each), seconds=share) for ask, each in zip(asks, said, strict=True)]


def _said(ask: Ask, tokens: list[int]) -> list[int]:
    """Up to the end of the answer; what follows are fillings."""
    for at, token in enumerate(tokens[: ask.max_tokens]):
        if token in ask.stop_ids:
            return tokens[: at + 1]
    return tokens[: ask.max_tokens]


def measure(bench: Bench, trainer: Trainer) -> Iterator[Measure]:
    """Raises Different."""
    num_pairs, num_each = bench.sizes.transformers_pairs, bench.sizes.transformers_each
    asks = bench.supply.everywhere((num_pairs + 1) * num_each)
    batches = [asks[start : start + num_each] for start in range(0, len(asks), num_each)]
    plain, reference = bench.house.plain, Reference(bench.house.folder)
    pairs = interleave(batches[0], batches[1:], lambda asks: plain.run(asks, 1), reference.run, bench.judge)
    yield _identity(pairs)
    yield from speed_measures(PLAIN, "ours against transformers", pairs, temperature=0.0)
    for size in _AT_ONCE:
        batches = [bench.supply.everywhere(size) for _ in range(bench.sizes.transformers_batches + 1)]
        pairs = interleave(batches[0], batches[1:], lambda asks: at_once(plain, asks), reference.at_once, bench.judge)
        yield from speed_measures(BATCHES, "ours against transformers", pairs, temperature=0.0, concurrency=size)


def _identity(pairs: Pairs) -> Measure:
    detail = f"{pairs.num_answers} of {pairs.num_answers} equal ({pairs.num_near_ties} near-ties, {pairs.num_looping} looping)"
    return Measure(
        goal=IDENTITY.name,
        what="plain decoding against transformers",
        ratio=certain(pairs.num_answers),
        temperature=0.0,
        detail=detail,
    )
