"""Alone: what a source of drafts is worth on recorded answers where nobody else drafts."""

from __future__ import annotations

from collections.abc import Sequence

from models.decoder import Decoder
from speculator.protocol import Speculator
from speculator.records import sampling_of
from speculator.redraft import redraft, states_for
from trainer.gate import Score
from trainer.kept import Kept


def scores_alone(source: Speculator, decoder: Decoder, traces: Sequence[Kept], budget: int) -> list[Score]:
    """Each answer drafted again, against drafting nothing: a step for each token. budget: nodes of a draft."""
    return [_score(source, decoder, each, budget) for each in traces]


def _score(source: Speculator, decoder: Decoder, trace: Kept, budget: int) -> Score:
    hidden, layers = states_for(source, decoder, trace.tokens)
    drafted = redraft(
        source,
        trace.tokens,
        len(trace.trace.prompt_ids),
        sampling_of(trace.trace.sampling),
        num_nodes=budget,
        number=trace.number,
        hidden=hidden,
        layers=layers,
    )
    return Score(trace.trace.tenant, trace.domain, drafted.num_tokens, drafted.num_tokens, drafted.num_steps)
