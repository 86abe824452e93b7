"""What engine and worker say to each other. Rounds are numbered, so that what comes late is known for it.

To the worker: Birth, then Begin, End, Ask, Weights, Stop. From it: Ready, Reply.
"""

from __future__ import annotations

import msgspec

from speculator.belief import Belief
from speculator.drafts import Law
from speculator.ssd.fanout import Policy


class Birth(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What a worker is told first."""

    config: dict[str, int | float | str | bool]
    """Of the draft model."""
    version: str
    weights: bytes
    """safetensors, by Hugging Face name."""
    page_size: int
    num_pages: int
    room: int = 160
    """Positions behind each text, for drafts and branches."""
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    cores: tuple[int, ...] = ()
    """To run on; empty: any."""
    policy: Policy = "measured"
    law: Law = Law.POINT_MASS
    """How drafts for sampled answers are made."""
    saguaro: float = 1.0
    """Weight of the tokens that will be prepared for, where drafts are drawn; 1: as any other."""
    adaptive: bool = True
    """Whether lookahead and fan-out follow what is measured."""


class Begin(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A sequence enters, or comes back after the worker was started again."""

    sequence: int
    tokens: tuple[int, ...]
    """The prompt, and what was emitted so far."""
    num_prompt: int
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int
    choice: int


class End(msgspec.Struct, frozen=True, tag=True):
    sequence: int


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One sequence of a round."""

    sequence: int
    emitted: tuple[int, ...]
    """Since the worker was last asked about it."""


class Ask(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """For drafts, to be answered at once with what there is; then what the next round may want is drafted."""

    round: int
    rows: tuple[Row, ...]
    lookahead: int
    """Tokens of a draft, at most."""
    fan_out: int
    """Outcomes that are prepared for each sequence, at most."""
    nodes: int = 64
    """Of the tree that is verified for one sequence, at most."""
    patience: float = 0.0
    """Seconds that the engine waits for the reply."""
    since: float = 0.0
    """Seconds since it had the reply to the question before; 0: that did not come in time, or more than one step lies between."""


class Weights(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Newer weights of the same shape, taken between two passes; in pieces, between which questions pass."""

    version: str
    data: bytes
    """Of safetensors, by Hugging Face name."""
    at: int
    """Where the piece begins."""
    total: int
    """Bytes of all pieces together."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    pass


class Drafted(msgspec.Struct, frozen=True, array_like=True):
    """What there was for one sequence."""

    sequence: int
    hit: bool
    """Whether what the target emitted had been prepared for."""
    tokens: tuple[int, ...]
    """A tree, parents before children."""
    parents: tuple[int, ...]
    """Of each token: 0: none, else the number of the token that it follows, from 1."""
    chances: tuple[float, ...]
    """That each token is chosen, given that its parent was."""
    beliefs: tuple[Belief | None, ...] = ()
    """What each token was drawn from; empty: none was."""


class Measured(msgspec.Struct, frozen=True, array_like=True):
    """Of rounds lately (see `speculator.ssd.pace`); None: not seen yet."""

    passes: float | None = None
    """That drafted ahead."""
    fan_out: float | None = None
    """Outcomes prepared for each sequence."""
    expected_hits: float | None = None
    """The chance that one of them comes."""
    verify_seconds: float | None = None
    glue_seconds: float | None = None
    pass_seconds: float | None = None
    """Of the first pass."""


class Reply(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    round: int
    rows: tuple[Drafted, ...]
    version: str
    build_seconds: float
    """Of the drafting since the last reply."""
    idle_seconds: float
    """For which the worker had nothing left to prepare, since the last reply."""
    measured: Measured


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker is there."""

    version: str


ToWorker = Birth | Begin | End | Ask | Weights | Stop
FromWorker = Ready | Reply
