"""Log-probabilities of the target's raw scores: of what was emitted, and of prompts.

Legend: V tokens of the target, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from speculator.batch import Batch
from speculator.drafts import Drafts
from speculator.scored import Scored
from speculator.verify import Verdicts

_ROWS = 64
"""Scored at once: of 150,000 tokens 38 MB, where a chunk of a prompt would take hundreds."""


def score(logits: Tensor, tokens: Sequence[int], num_top: int) -> list[Scored]:
    """What raw scores [n, V] say of `tokens` [n], and the `num_top` likeliest beside each."""
    found = logits.float().log_softmax(-1)
    own = found.gather(1, torch.tensor(tokens, device=found.device).unsqueeze(1))
    ranks = (found > own).sum(-1) + 1
    top = found.topk(min(num_top, found.shape[-1]))
    columns = (own.squeeze(1), ranks, top.indices, top.values)
    rows = zip(tokens, *(each.tolist() for each in columns), strict=True)
    return [Scored(token, own, rank, tuple(zip(ids, values, strict=True))) for token, own, rank, ids, values in rows]


def score_emitted(batch: Batch, drafts: Drafts, logits: Tensor, verdicts: Verdicts) -> tuple[tuple[Scored, ...], ...]:
    """[B] what the target thought of each emitted token, at the node that chose it; nothing for who did not ask.

    logits: [N, V] of every node of the drafts.
    """
    starts = drafts.offsets.tolist()
    return tuple(
        tuple(score(logits[[start, *(start + node for node in path)]][: len(said)], said, num_top))
        if (num_top := sequence.sampling.logprobs) is not None
        else ()
        for sequence, start, path, said in zip(batch.choosing, starts, verdicts.accepted, verdicts.emitted, strict=False)
    )


def score_prompts(batch: Batch, hidden: Tensor, unembed: Callable[[Tensor], Tensor]) -> None:
    """Adds to what sequences that asked know of their prompts. To be called before the sequences move on.

    hidden: [R, H] of the rows that the chunks of the batch name (`Chunk.told`), in this order.
    """
    start = 0
    for chunk in batch.chunks:
        sequence, told = chunk.sequence, chunk.told
        rows, start = hidden[start : start + len(told)], start + len(told)
        first = sequence.num_written + told.start + 1
        for at in range(0, len(rows), _ROWS):
            piece = rows[at : at + _ROWS]
            tokens = sequence.tokens[first + at : first + at + len(piece)]
            sequence.prompt_scored += score(unembed(piece), tokens, sequence.sampling.prompt_logprobs or 0)
