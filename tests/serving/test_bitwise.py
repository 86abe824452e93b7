"""On a CPU with its own kernels, speculation leaves every score of the target as it is, to the last bit."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from kernels import native
from serving.engine import Engine, FixedBudget
from serving.messages import Request
from serving.target import Target
from speculator.batch import Batch
from speculator.merged import MergedSpeculator
from speculator.verify import Verdicts
from tests.serving.rig import MAX_TREE, VOCAB, GuessingSpeculator, NoSpeculator, tiny_decoder, tiny_scheduler, tiny_target

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C compiler here")

Chosen = dict[tuple[int, int], Tensor]
"""(request, output position) -> the scores from which its token was chosen."""


def watch(target: Target) -> Chosen:
    """Notes the scores behind every token that is emitted from now on."""
    chosen: Chosen = {}
    keep = target.keep

    def noting(batch: Batch, verdicts: Verdicts) -> None:
        scores, drafts = target.wait(), target._drafts
        assert drafts is not None
        for row, (sequence, path) in enumerate(zip(batch.choosing, verdicts.accepted, strict=True)):
            start = int(drafts.offsets[row])
            for ahead, node in enumerate((0, *path)):
                chosen[sequence.id, sequence.num_output + ahead] = scores.logits[start + node].clone()
        keep(batch, verdicts)

    target.keep = noting  # type: ignore[method-assign]
    return chosen


def requests() -> list[Request]:
    rng = random.Random(3)
    return [
        Request(
            id=number,
            prompt_ids=tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(1, 40))),
            max_tokens=30,
            temperature=0.7 * (number % 2),
            seed=number,
        )
        for number in range(1, 13)
    ]


def serve(engine: Engine, asked: list[Request]) -> dict[int, tuple[int, ...]]:
    said: dict[int, tuple[int, ...]] = {request.id: () for request in asked}
    for request in asked:
        assert engine.submit(request) is None
    while engine.has_work:
        for moved in engine.step():
            said[moved.id] += moved.token_ids
    return said


@pytest.mark.parametrize("numbers", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_scores_behind_every_token_are_plain_decodings(numbers: str, threads: int) -> None:
    """numbers: of the weights; bfloat16 ones and bytes have kernels of their own."""
    decoder = tiny_decoder(dtype=torch.bfloat16 if numbers == "bfloat16" else torch.float32, quantised=numbers == "int8")
    alone = tiny_target(decoder)
    plainly = watch(alone)
    said: dict[int, tuple[int, ...]] = {}
    scheduler = tiny_scheduler(alone, max_prompt_tokens=64, share_prefixes=False)
    engine = Engine(alone, scheduler, MergedSpeculator([NoSpeculator()], max_tree=MAX_TREE), FixedBudget(0))
    for request in requests():  # one by one, each prompt in one piece
        said |= serve(engine, [request])

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = tiny_target(decoder, num_pages=60)  # too few for all at once: some give theirs up and read again
        drafted = watch(together)
        guessing = GuessingSpeculator(said, seed=7)
        scheduler = tiny_scheduler(together, max_prompt_tokens=11)
        again = serve(Engine(together, scheduler, MergedSpeculator([guessing], max_tree=MAX_TREE), FixedBudget(12)), requests())
    finally:
        torch.set_num_threads(before)

    assert again == said
    assert scheduler.counters["preemptions"] > 0
    assert guessing.num_accepted > 50, "hardly anything was drafted with success"
    assert drafted.keys() == plainly.keys()
    for key, scores in plainly.items():
        assert torch.equal(drafted[key], scores), f"request {key[0]}, position {key[1]}"
