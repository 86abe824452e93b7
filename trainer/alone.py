"""Alone: what a source of drafts is worth on recorded answers where nobody else drafts."""

from __future__ import annotations

from collections.abc import Sequence

from models.decoder import Decoder
from speculator.protocol import Speculator
from speculator.records import sampling_of
from speculator.redraft import redraft, states_for
from speculator.simulate import Simulated
from trainer.gate import Score
from trainer.judge import by_conversation
from trainer.kept import Kept


def scores_alone(source: Speculator, decoder: Decoder, traces: Sequence[Kept], budget: int) -> list[Score]:
    """Each answer drafted again, against drafting nothing: a step for each token. One score for each conversation.

    budget: nodes of a draft.
    """
    both = []
    for each in traces:
        drafted = _drafted(source, decoder, each, budget)
        both.append((each, Simulated(drafted.num_tokens, drafted.num_tokens), drafted))
    return by_conversation(both)


def _drafted(source: Speculator, decoder: Decoder, trace: Kept, budget: int) -> Simulated:
    hidden, layers = states_for(source, decoder, trace.tokens)
    return redraft(
        source,
        trace.tokens,
        len(trace.trace.prompt_ids),
        sampling_of(trace.trace.sampling),
        num_nodes=budget,
        number=trace.number,
        hidden=hidden,
        layers=layers,
    )
