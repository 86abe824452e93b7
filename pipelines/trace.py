"""Trace: one choice of one finished or aborted request, as it enters the traffic log.

Token ids, never hidden states and never text: the trainer recomputes what it needs from ids, and a
record stays small (a 300-token answer about 1 kB, and about 200 bytes for each of its verification steps).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pipelines.errors import BadTrace

SCHEMA = 1
LOSSY_SCHEMA = 2
"""Of a trace whose answer is no evidence of what the target says: whoever knows schema 1 alone must not learn from it."""

Consent = Literal["tenant", "shared"]
"""Who may learn from a trace: only this tenant's speculators, or everyone's. Traffic that nobody may learn
from never becomes a trace."""

FinishReason = Literal["stop", "length", "abort"]


class Edits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request changes of the target's scores before a token is chosen. The defaults change nothing."""

    repetition_penalty: float = 1.0
    """Of tokens that prompt or output hold: positive scores are divided by it, negative ones multiplied."""
    presence_penalty: float = 0.0
    """Taken off tokens that the output holds."""
    frequency_penalty: float = 0.0
    """Taken off tokens for each time that the output holds them."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the scores of these tokens."""
    min_tokens: int = 0
    """Stop ids are ruled out until the output has so many tokens."""
    allowed_token_ids: tuple[int, ...] = ()
    """All others are ruled out; empty: none is."""
    bad_words: tuple[tuple[int, ...], ...] = ()
    """Sequences of tokens that the output must not hold: the last is ruled out where those before it were just said."""


NO_EDITS = Edits()


class Typical(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds of typical acceptance (Medusa, arXiv 2401.10774, section 2.3.1), which is lossy: see `speculator.typical`."""

    epsilon: float = 0.09
    """A drafted token likelier than this is always accepted."""
    delta: float = 0.3
    """Where the target is undecided, with entropy H in nats, one likelier than delta * exp(-H) is."""

TYPICAL = Typical()


class SamplingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling parameters as they were resolved, the drawn seed included."""

    temperature: float
    top_p: float
    top_k: int
    """0: off."""
    min_p: float
    seed: int
    choice: int = 0
    """Index among the choices of the request: part of the key of the noise, as the seed is."""
    max_tokens: int
    stop_ids: tuple[int, ...] = ()
    """Empty in records of earlier versions, too."""
    edits: Edits = NO_EDITS
    constrained: bool = False
    """Whether a grammar limited the choices: the output is then not what the target would have said by itself."""
    lossy: Typical | None = None
    """How drafts were accepted that the target did not choose: the output depends on who drafted, and is no evidence of what the
    target says. None: the output is exact."""


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one source did in one step, by depth: lists start at depth 1."""

    source: str
    version: str
    proposed: tuple[int, ...]
    """Nodes sent to verification."""
    reached: tuple[int, ...]
    """Nodes whose parent was accepted."""
    accepted: tuple[int, ...]
    """0 or 1 for each depth."""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One verification step of one sequence."""

    start: int
    """Index in `Trace.output_ids` of the first token that the step emitted."""
    emitted: int
    batch_size: int
    nodes: int
    """Drafted nodes verified, the root not counted."""
    sources: tuple[SourceRecord, ...] = ()


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of one request.

    `output_ids` holds every emitted token; the last `num_cut` of them were cut off by a stop string: they are
    the target's own words and teach as well as the others, but the client never saw them.
    """

    schema: int = SCHEMA
    trace_id: str
    tenant: str = "default"
    conversation: str
    """Groups retries, n > 1 and later turns, so that a hold-out keeps them on one side."""
    consent: Consent = "shared"
    expires_at: float | None = None
    """Unix seconds; None: the log's own retention decides."""
    started_at: float
    finished_at: float
    target: str
    """Fingerprint of the target's weights and configuration."""
    tokenizer: str
    """Hash of the tokenizer."""
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    num_cut: int = 0
    finish_reason: FinishReason
    sampling: SamplingRecord
    steps: tuple[StepRecord, ...] = ()
    domain: str | None = None
    """A label the client may send (`metadata.domain`): for statistics by domain."""

    def __post_init__(self) -> None:
        if self.schema not in (SCHEMA, LOSSY_SCHEMA):
            raise ValueError(f"schema is {self.schema}, expected {SCHEMA} or {LOSSY_SCHEMA}")
        if not 0 <= self.num_cut <= len(self.output_ids):
            raise ValueError(f"num_cut is {self.num_cut}, expected 0 to {len(self.output_ids)}")

    @property
    def mean_acceptance_length(self) -> float | None:
        """Tokens emitted per verification step, the bonus token included; None without steps."""
        return sum(step.emitted for step in self.steps) / len(self.steps) if self.steps else None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Trace)


def encode_trace(trace: Trace) -> bytes:
    """The trace as msgpack."""
    return _encoder.encode(trace)


def decode_trace(data: bytes) -> Trace:
    """The inverse of `encode_trace`. Raises BadTrace, naming the field, for anything else."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadTrace(f"not a trace of schema {SCHEMA} or {LOSSY_SCHEMA}: {error}") from error
